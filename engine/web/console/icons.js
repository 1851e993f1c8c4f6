// Icons that only the console has, drawn as those of shared/elements.js, which it gives, too.

import { icon as shared, makeSvg } from "/web/shared/elements.js";

const PATHS = {
	overview: "M4 4.500h6.500v8H4ZM13.500 4.500H20v5h-6.500ZM4 15.500h6.500v4H4ZM13.500 12.500H20v7h-6.500Z",
	advice: "M9 17.500h6M10 20.500h4M12 3.500a6 6 0 0 1 3.600 10.800c-.6.5-.9 1-.9 1.700v1.500H9.300V16c0-.7-.3-1.200-.9-1.700A6 6 0 0 1 12 3.500Z",
	money: "M12 3.500c4.700 0 8 1.500 8 3.500s-3.300 3.500-8 3.500S4 9 4 7s3.300-3.500 8-3.500ZM4 7v5c0 2 3.300 3.500 8 3.500s8-1.500 8-3.500V7M4 12v5c0 2 3.300 3.500 8 3.500s8-1.500 8-3.500v-5",
	leave: "M14 4.500H5.500v15H14M10.500 12h10m-3.500-3.500L20.500 12 17 15.500",
	table: "M4 5h16v14H4ZM4 10h16M4 14.500h16M10 10v9",
	chart: "M4 4v16h16M7.500 15l3.500-4.500 3 2.500 5-6.500",
	download: "M12 4v11m-4.500-4.500L12 15l4.500-4.500M4.500 19.500h15",
	undo: "m8.500 6-4 4 4 4m-4-4H14a5.500 5.500 0 0 1 0 11h-2",
	back: "m14.500 5.500-6.500 6.500 6.500 6.500",
	fault: "M8.200 3.500h7.600l4.700 4.700v7.600l-4.700 4.700H8.200l-4.700-4.700V8.200ZM9 9l6 6m0-6-6 6",
	limit: "M12 4 2.800 19.500h18.400ZM12 10v4.500M12 17v.1",
	hint: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Zm0 8v5.500M12 7.500v.1",
	ban: "M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18ZM5.700 5.700l12.600 12.600",
	lock: "M6 10.500h12v9.500H6Zm2.500 0V8a3.500 3.500 0 0 1 7 0v2.500",
};

export function icon(name, options) {
	if (!(name in PATHS)) return shared(name, options);
	const drawing = makeSvg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" });
	drawing.append(makeSvg("path", { d: PATHS[name] }));
	return drawing;
}
