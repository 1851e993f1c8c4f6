// The API key. Owns where it is: in this tab's sessionStorage, and nowhere else. It may come in the address, behind the #, which
// browsers send to nobody; from there it is taken away at once.

const NAME = "roomcast console key";

/** The key that the address brought or this tab has; "": none. */
export function readKey() {
	const given = /^#key=(.+)$/.exec(location.hash)?.[1];
	if (given) {
		history.replaceState(null, "", location.pathname + location.search);
		try {
			keepKey(decodeURIComponent(given));
		} catch {
			keepKey(given);
		}
	}
	return sessionStorage.getItem(NAME) ?? "";
}

export function keepKey(key) {
	sessionStorage.setItem(NAME, key.trim());
}

export function forgetKey() {
	sessionStorage.removeItem(NAME);
}
