"""The metrics of several processes as one exposition: every sample gets a label that says whose it is.

Nothing is added up here. Sums are right for counters and wrong for most gauges, and Prometheus has both the
operators and the memory for it: `sum without (worker) (...)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families


def labelled(texts: Mapping[int, str]) -> Iterable[Metric]:
    """The families of all texts, by worker number, with the label `worker`."""
    families: dict[str, Metric] = {}
    for number, text in texts.items():
        for family in text_string_to_metric_families(text):
            merged = families.get(family.name)
            if merged is None:
                merged = Metric(family.name, family.documentation, family.type)
                families[family.name] = merged
            for sample in family.samples:
                merged.add_sample(sample.name, {**sample.labels, "worker": str(number)}, sample.value)
    return families.values()
