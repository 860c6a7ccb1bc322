// A classic script in the head, so that the chosen theme is there before the first paint.
// Without a choice the page follows the system (see theme.css).
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("fanlight-theme");
  } catch {
    // Storage may be forbidden: the page then follows the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
