// Figures over time. Owns rings of fixed length, so that a console that stays open for days is not larger than one of five minutes.

export const KEPT_SECONDS = 300;
const LENGTH = KEPT_SECONDS + 20;

/** The last points of something. Times in milliseconds, rising; NaN: not known then. */
export class Series {
	#times = new Float64Array(LENGTH);
	#values = new Float64Array(LENGTH);
	#end = 0;

	get length() {
		return Math.min(this.#end, LENGTH);
	}

	/** A point; of the same second as the last one, or before it, it replaces that. */
	add(time, value) {
		const last = (this.#end - 1) % LENGTH;
		const again = this.#end > 0 && Math.floor(time / 1000) <= Math.floor(this.#times[last] / 1000);
		const at = again ? last : this.#end++ % LENGTH;
		if (!again) this.#times[at] = time;
		this.#values[at] = value;
	}

	/** From the oldest, 0, to the newest. */
	time(at) {
		return this.#times[this.#place(at)];
	}
	value(at) {
		return this.#values[this.#place(at)];
	}

	get last() {
		return this.length ? this.value(this.length - 1) : NaN;
	}

	/** The point nearest to a time; -1: there is none. */
	nearest(time) {
		let low = 0, high = this.length - 1;
		if (high < 0) return -1;
		while (low < high) {
			const middle = (low + high) >> 1;
			if (this.time(middle) < time) low = middle + 1;
			else high = middle;
		}
		return low > 0 && time - this.time(low - 1) < this.time(low) - time ? low - 1 : low;
	}

	#place(at) {
		return (this.#end > LENGTH ? this.#end + at : at) % LENGTH;
	}
}

const IDLE_MS = 7_500, SMOOTH_MS = 3_000;

/** A counter that only rises, as a rate over so many seconds. One that falls began anew. Edges in other processes tell theirs every
 * five seconds: a window as long as that shows no bursts where there are none. */
export class Rate {
	value = NaN;
	#points = [];
	#ms;

	constructor(seconds = 3) {
		this.#ms = seconds * 1000;
	}

	/** @returns Per second; NaN as long as there is no telling. */
	take(time, count) {
		const points = this.#points, [then, before] = points.at(-1) ?? [-Infinity, 0];
		if (count < before) points.length = 0;
		if (time <= then) return this.value;
		points.push([time, count]);
		while (points.length > 2 && points[1][0] <= time - this.#ms) points.shift();
		if (points.length > 1) this.value = ((count - points[0][1]) * 1000) / (time - points[0][0]);
		return this.value;
	}
}

/** One that is told seldom, every few seconds: what counts is from one change to another. Before the second one nothing is known. */
export class SlowRate {
	value = NaN;
	#points = [];
	#begun = false;

	take(time, count) {
		const points = this.#points, [then, before] = points.at(-1) ?? [-Infinity, Infinity];
		if (count < before) {
			this.#points = [[time, count]];
		} else if (count > before && time > then) {
			// How long it had been before the first change nobody knows.
			if (!this.#begun) points.length = 0;
			this.#begun = true;
			points.push([time, count]);
			while (points.length > 2 && points[1][0] <= time - SMOOTH_MS) points.shift();
			if (points.length > 1) this.value = ((count - points[0][1]) * 1000) / (time - points[0][0]);
		} else if (time - then > IDLE_MS) {
			this.value = 0;
			this.#begun = true;
			this.#points = [[time, count]];
		}
		return this.value;
	}
}
