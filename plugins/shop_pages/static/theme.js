// Light or dark as Airflow is, before anything is painted: its frame says so, or what it keeps in the browser.
(function () {
  "use strict";
  function frame() {
    try {
      return window.parent === window ? null : window.parent.document.documentElement;
    } catch {
      return null;
    }
  }
  function chosen() {
    const around = frame();
    if (around && /(^|\s)(dark|light)(\s|$)/.test(around.className)) {
      return /(^|\s)dark(\s|$)/.test(around.className) ? "dark" : "light";
    }
    try {
      const kept = localStorage.getItem("theme");
      if (kept === "dark" || kept === "light") return kept;
    } catch {
      // No storage: the system's choice.
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  function apply() {
    const theme = chosen();
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("themechange"));
  }
  apply();
  const around = frame();
  if (around) {
    document.documentElement.dataset.framed = "yes";
    new MutationObserver(apply).observe(around, { attributes: true, attributeFilter: ["class", "data-theme"] });
  }
  addEventListener("storage", apply);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
})();
