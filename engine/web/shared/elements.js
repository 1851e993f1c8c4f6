// Elements in few words, and the icons.
//
// Owns the drawings: lines on a grid of 24, made for these pages, in the colour of the text around them. Texts only ever become text:
// there is no way here to give HTML. Icons are decoration: the control that holds one has a name of its own. In HTML:
//   <button aria-label="…" data-icon="heart"></button> and fillIcons(document)

const SVG = "http://www.w3.org/2000/svg";

/** make("button", { class: "button", type: "button", onclick: run, dataset: {…} }, "text", child, …). null attributes are left out. */
export function make(name, attributes = {}, ...children) {
	const element = document.createElement(name);
	for (const [key, value] of Object.entries(attributes)) {
		if (key === "dataset") Object.assign(element.dataset, value);
		else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
		else if (typeof value === "boolean") element.toggleAttribute(key, value);
		else if (value !== null && value !== undefined) element.setAttribute(key, value);
	}
	element.append(...children.filter((child) => child !== null && child !== undefined));
	return element;
}

export function makeSvg(name, attributes = {}, ...children) {
	const element = document.createElementNS(SVG, name);
	for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
	element.append(...children);
	return element;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** Let a parent hold one element for each item, in their order, and keep those that it has: focus stays where it is.
 * create(item) makes one, update(element, item) lets it say what it is to say. */
export function keyed(parent, items, keyOf, create, update) {
	const had = (parent.made ??= new Map()), made = new Map();
	let place = parent.firstChild;
	for (const item of items) {
		const key = keyOf(item), element = had.get(key) ?? create(item);
		made.set(key, element);
		update(element, item);
		if (element === place) place = place.nextSibling;
		else parent.insertBefore(element, place);
	}
	for (const [key, element] of had) if (!made.has(key)) element.remove();
	parent.made = made;
}

/** Set a text only if it is another one: nothing is laid out in vain. */
export function setText(element, text) {
	if (element.textContent !== text) element.textContent = text;
}

// -- icons

const PATHS = {
	heart: "M12 20.2 4.7 12.9a4.75 4.75 0 0 1 0-6.7 4.75 4.75 0 0 1 6.7 0l.6.6.6-.6a4.75 4.75 0 0 1 6.7 6.7Z",
	send: "M4.5 12 3.2 4.6a.6.6 0 0 1 .9-.6l16.2 7.5a.6.6 0 0 1 0 1L4.1 20a.6.6 0 0 1-.9-.6L4.5 12Zm0 0H12",
	gift: "M4 11.5h16V20H4Zm-1-4h18v4H3Zm9 0V20M12 7.5S11 3.5 8.4 3.5a2 2 0 0 0 0 4Zm0 0s1-4 3.6-4a2 2 0 0 1 0 4Z",
	packet: "M6 3h12a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1ZM5 6.5c2 2.6 4.3 3.6 7 3.6s5-1 7-3.6M12 8.4a2.2 2.2 0 1 1 0 4.4 2.2 2.2 0 0 1 0-4.4Z",
	pause: "M8.5 5v14M15.5 5v14",
	play: "M7.5 4.8v14.4a.6.6 0 0 0 .9.5l11-7.2a.6.6 0 0 0 0-1l-11-7.2a.6.6 0 0 0-.9.5Z",
	down: "M12 5v14m-6-6 6 6 6-6",
	close: "m6 6 12 12M18 6 6 18",
	reply: "m9.5 7-5 5 5 5m-5-5h9a6 6 0 0 1 6 6v.5",
	pin: "M9 3.5h6l-.7 6 3.2 3.5h-11l3.2-3.5ZM12 13v7.5",
	poll: "M5 20v-7M12 20V4M19 20v-11",
	question: "M9 9.2a3 3 0 1 1 4.6 2.6c-1 .6-1.6 1.2-1.6 2.4M12 17.6v.1M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Z",
	notice: "M4 10v4h3.2l7.3 4V6l-7.3 4Zm14-1.5a5 5 0 0 1 0 7",
	bag: "M5.5 8h13l.9 12H4.6Zm3.3 2.5V7a3.2 3.2 0 0 1 6.4 0v3.5",
	trophy: "M7.5 4h9v5.5a4.5 4.5 0 0 1-9 0Zm0 1.8H4.3c0 3 1 4.7 3.5 5.2m8.7-5.2h3.2c0 3-1 4.7-3.5 5.2M12 14v3.5M8.3 20.3c0-1.9 1.2-2.8 3.7-2.8s3.7.9 3.7 2.8Z",
	people: "M9 4.5a3.25 3.25 0 1 1 0 6.5 3.25 3.25 0 0 1 0-6.5ZM3 19.5c.3-3.6 2.4-5.5 6-5.5s5.7 1.9 6 5.5M15.5 5a3 3 0 0 1 0 5.8M17.5 14.4c2.1.7 3.3 2.4 3.5 5.1",
	sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8Zm0-5.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
	moon: "M19.5 14.3A8 8 0 0 1 9.7 4.5a8 8 0 1 0 9.8 9.8Z",
	language: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Zm0 0c-2.4 2.5-3.6 5.5-3.6 9s1.2 6.5 3.6 9c2.4-2.5 3.6-5.5 3.6-9S14.4 5.5 12 3ZM3.3 9.5h17.4M3.3 14.5h17.4",
	check: "m5 12.5 4.5 4.5L19 7.5",
	clock: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Zm0 4.5V12l3 2",
	warning: "M12 4 2.8 19.5h18.4ZM12 10v4.5M12 17v.1",
	signal: "M4 18v2M9.3 14v6M14.7 9v11M20 4v16",
	copy: "M8.5 8.5h11v11h-11ZM5.5 15.5h-1v-11h11v1",
	chat: "M4 5h16v11.5h-8L7.5 20v-3.5H4Z",
	shield: "M12 3.2 5 6v5.5c0 4.3 2.5 7.4 7 9.3 4.5-1.9 7-5 7-9.3V6Z",
	trash: "M5 7h14M9.5 7V4.5h5V7M6.5 7l.8 12.5h9.4L17.5 7M10.3 10.5v5.5M13.7 10.5v5.5",
	mute: "M4 10v4h3.2l6.3 4V6l-6.3 4Zm13-.5 4 5m0-5-4 5",
	refresh: "M19.5 8.5A8 8 0 1 0 20 13M19.8 4v4.7H15",
	search: "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Zm4.8 11.3L20 20",
	settings: "M4 7h9M17 7h3M4 17h3M11 17h9M15 5a2 2 0 1 1 0 4 2 2 0 0 1 0-4ZM9 15a2 2 0 1 1 0 4 2 2 0 0 1 0-4Z",
	server: "M4 4.5h16v6H4ZM4 13.5h16v6H4ZM7.5 7.5v.1M7.5 16.5v.1",
};

/** An <svg>; `filled`: the shape instead of its outline. */
export function icon(name, { filled = false } = {}) {
	const drawing = makeSvg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" });
	drawing.append(makeSvg("path", { d: PATHS[name], ...(filled && { fill: "currentcolor" }) }));
	return drawing;
}

/** Put into every element marked with data-icon its icon, before what it holds. */
export function fillIcons(root) {
	for (const element of root.querySelectorAll("[data-icon]")) element.prepend(icon(element.dataset.icon));
}
