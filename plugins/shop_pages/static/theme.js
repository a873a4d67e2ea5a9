// The theme of Airflow, light or dark, before anything is painted: from the frame around, or from the browser's storage.
(function () {
  "use strict";
  function airflowRoot() {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null;
    }
  }
  function currentTheme() {
    const root = airflowRoot();
    if (root && /(^|\s)(dark|light)(\s|$)/.test(root.className)) {
      return /(^|\s)dark(\s|$)/.test(root.className) ? "dark" : "light";
    }
    try {
      const stored = localStorage.getItem("theme");
      if (stored === "dark" || stored === "light") return stored;
    } catch {
      // No storage: use the theme of the system.
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  function apply() {
    const theme = currentTheme();
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("themechange"));
  }
  apply();
  const root = airflowRoot();
  if (root) {
    document.documentElement.dataset.framed = "yes";
    new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
  addEventListener("storage", apply);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
})();
