// Elements that are there already: how they change. Owns that nothing is touched that is as it should be, since a console draws the
// same things every second. How elements are made, and that texts only become text, is for shared/elements.js.

/** Put a text there. */
export function write(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

/** Show it or not. */
export function show(element, shown) {
	if (element.hidden === Boolean(shown)) element.hidden = !shown;
}

/** An attribute; null: none. */
export function mark(element, name, value) {
	if (value === null) element.removeAttribute(name);
	else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Let an element hold exactly these, moving as few as possible. */
export function fill(parent, children) {
	let at = parent.firstChild;
	for (const child of children) {
		if (child === at) at = at.nextSibling;
		else parent.insertBefore(child, at);
	}
	while (at) {
		const next = at.nextSibling;
		at.remove();
		at = next;
	}
}
