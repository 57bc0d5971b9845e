"use strict";
// Keeps a page live, and gives it keys and a theme. Without it every page works, and stands still.
{
  const root = document.documentElement;
  const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;

  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const toggle = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it holds for this page */ }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const state = document.getElementById("state"), keys = document.getElementById("keys");
    for (const [id, does] of [["theme", toggle], ["help", () => keys.showModal()]]) {
      const button = document.getElementById(id);
      button.hidden = false;
      button.addEventListener("click", does);
    }
    const isOut = !("version" in document.body.dataset); // nobody is signed in

    // ------------------------------------------------------------------ keys
    const items = () => [...document.querySelectorAll("#list .open, #list tbody tr")];
    let at = -1;
    const go = (to) => {
      const all = items();
      if (!all.length) return;
      at = Math.max(0, Math.min(to, all.length - 1));
      for (const each of all) each.classList.toggle("at", each === all[at]);
      if (all[at].href) all[at].focus();
      all[at].scrollIntoView({ block: "nearest" });
    };
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
      const typing = event.target.matches("input:not([type=radio]), select, textarea");
      if (typing) {
        if (event.key === "Escape") event.target.blur();
        return;
      }
      const focused = items().indexOf(document.activeElement);
      const does = {
        j: () => go((focused >= 0 ? focused : at) + 1),
        k: () => go((focused >= 0 ? focused : at) - 1),
        u: () => { location.href = document.getElementById("up") ? "/" + (sessionStorage.getItem("list") || "") : "/"; },
        f: () => { const first = document.querySelector("#say input[type=radio]"); if (first) first.focus(); },
        t: toggle,
        "/": () => { const search = document.getElementById("search"); if (search) search.select(); else location.href = "/"; },
        "?": () => keys.showModal(),
      }[event.key];
      if (does) { event.preventDefault(); does(); }
    });
    if (location.pathname === "/") sessionStorage.setItem("list", location.search);
    const up = document.getElementById("up");
    if (up) up.href = "/" + (sessionStorage.getItem("list") || "");
    for (const choice of document.querySelectorAll(".filters select")) choice.addEventListener("change", () => choice.form.requestSubmit());

    // ------------------------------------------------------------------ live
    // An event says only that there is more to see; the page is asked for anew as a whole, so that none can be missed.
    let source = null, asked = false, waiting = false, seen = document.body.dataset.version;
    const renew = () => {
      if (asked) { waiting = true; return; }
      asked = true;
      const request = new XMLHttpRequest();
      request.open("GET", location.href);
      request.responseType = "document"; // parsed, never run
      request.onloadend = () => {
        const page = request.response;
        if (request.status === 200 && page && request.responseURL === location.href.split("#")[0]) put(page);
        else state.textContent = request.status === 401 ? "signed out" : "not renewed";
        setTimeout(() => { asked = false; if (waiting) { waiting = false; renew(); } }, 2000);
      };
      request.send();
    };
    // What somebody writes stands between the live parts, and stays.
    const put = (page) => {
      seen = page.body.dataset.version;
      const open = [...document.querySelectorAll(".live details[open]")].map((each) => each.id);
      const focused = document.activeElement.closest(".live") ? document.activeElement.getAttribute("href") : null;
      for (const part of document.querySelectorAll(".live")) part.replaceChildren(...document.adoptNode(page.getElementById(part.id)).childNodes);
      for (const id of open) { const each = document.getElementById(id); if (each) each.open = true; }
      if (focused) { const same = items().find((each) => each.getAttribute("href") === focused); if (same) same.focus({ preventScroll: true }); }
      const again = document.getElementById("up");
      if (again) again.href = "/" + (sessionStorage.getItem("list") || "");
      state.textContent = "live";
    };
    const listen = () => {
      if (isOut || source || document.hidden) return;
      source = new EventSource("/live?seen=" + encodeURIComponent(seen));
      source.onopen = () => { state.textContent = "live"; };
      source.onerror = () => { state.textContent = "connecting …"; if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(listen, 5000); } };
      source.addEventListener("news", renew);
    };
    // A page that nobody sees holds no connection: browsers allow six to one address.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && source) { source.close(); source = null; } else listen();
    });
    addEventListener("pagehide", () => { if (source) { source.close(); source = null; } });
    addEventListener("pageshow", listen);
    listen();
  });
}
