// Day or night: the system's choice until the button is pressed.

const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

export function themeToggle(button) {
  const now = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");
  const label = () => button.setAttribute("aria-label", now() === "dark" ? "Switch to the light theme" : "Switch to the dark theme");
  button.addEventListener("click", () => {
    root.dataset.theme = now() === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("fanlight-theme", root.dataset.theme);
    } catch {
      // Not kept then.
    }
    label();
  });
  dark.addEventListener("change", label);
  label();
}
