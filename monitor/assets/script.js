// Keeps the page fresh, and does nothing else: the page works without it. It replaces the regions of
// the page that changed, except one that has focus or an open <details>.
"use strict";
(function () {
	var url = document.body.dataset.live, source, poll;
	if (!url || !window.EventSource || !window.DOMParser) return;
	var light = document.getElementById("live"), clock = document.getElementById("now"), say = document.getElementById("say");
	var shown = Date.parse(clock.dateTime), loaded = performance.now();

	function spoken(root) {
		var e = root.querySelector("[data-say]");
		return e ? e.textContent : "";
	}
	function busy(e) {
		return e.contains(document.activeElement) || e.querySelector("details[open]");
	}
	function renew(html) {
		var fresh = new DOMParser().parseFromString(html, "text/html"), before = spoken(document);
		fresh.querySelectorAll("[data-region]").forEach(function (e) {
			var old = document.getElementById(e.id);
			if (!old) return;
			if (e.dataset.class) {
				old.parentNode.className = e.dataset.class;
				delete e.dataset.class;
			}
			if (!busy(old) && old.outerHTML !== e.outerHTML) old.replaceWith(document.importNode(e, true));
		});
		var after = spoken(document);
		if (after !== before) say.textContent = after;
		on(true);
	}
	function on(works) {
		light.hidden = false;
		light.textContent = works ? "Live" : "Not live";
		light.className = works ? "live" : "live lost";
	}
	function reload() {
		fetch(location.href, { headers: { Accept: "text/html" } }).then(function (r) {
			return r.ok ? r.text() : Promise.reject();
		}).then(renew).catch(function () { on(false); });
	}
	function stop() {
		if (source) source.close();
		clearInterval(poll);
		source = poll = null;
	}
	function start() {
		stop();
		source = new EventSource(url);
		source.onmessage = function (e) { renew(e.data); };
		source.onerror = function () {
			on(false);
			if (source && source.readyState === EventSource.CLOSED) { // it will not try again: no stream here
				stop();
				poll = setInterval(reload, 5000);
			}
		};
	}
	setInterval(function () {
		if (light.hidden || light.className !== "live") return;
		var t = new Date(shown + performance.now() - loaded).toISOString();
		clock.dateTime = t;
		clock.textContent = t.slice(11, 19) + " UTC";
	}, 1000);
	document.addEventListener("visibilitychange", function () {
		if (document.hidden) stop();
		else start();
	});
	addEventListener("pagehide", stop);
	if (!document.hidden) start();
})();
