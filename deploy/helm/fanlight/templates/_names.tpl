{{- define "fanlight.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "fanlight.selector" -}}
app.kubernetes.io/name: fanlight
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fanlight.labels" -}}
{{ include "fanlight.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Longer than the drain takes: its two parts, what a supervisor grants its workers (10), and 5. */}}
{{- define "fanlight.graceSeconds" -}}
{{- addf .Values.settings.drain_wait_seconds .Values.settings.drain_seconds 15 | ceil | int }}
{{- end }}
