// Numbers as people read them; the rules are those of the command line's tables.

const FLOP_STEPS = [
    [1e15, "P"],
    [1e12, "T"],
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
];
const BYTE_STEPS = [
    [2 ** 40, "TiB"],
    [2 ** 30, "GiB"],
    [2 ** 20, "MiB"],
    [2 ** 10, "KiB"],
];
const TIME_STEPS = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
    [1e-3, "ms"],
    [1e-6, "µs"],
];

/** An exact integer of the data (a number, or a string where a number would lose digits) as BigInt. */
function big(value) {
    return BigInt(value);
}

/** The sum of exact integers. */
function total(values) {
    return values.reduce((sum, value) => sum + big(value), 0n);
}

/** All digits, in groups of three. */
function whole(value) {
    return big(value).toLocaleString("en");
}

/** Text in which `words` between backticks are code. */
function withCode(text) {
    return text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
}

/** FLOPs with a decimal prefix: "4.57 TFLOP". */
function flops(value, unit = "FLOP") {
    return scaled(Number(value), FLOP_STEPS, unit, "");
}

/** Bytes with a binary prefix: "6.21 GiB". */
function bytes(value) {
    return scaled(Number(value), BYTE_STEPS, "", "B");
}

/** A time: "12.3 ms". */
function seconds(value) {
    if (value === null || value === undefined) return "–";
    if (value < 1e-13) return "0 s";
    const found = TIME_STEPS.find(([step]) => value >= step * 0.9995);
    return found ? `${threeDigits(value / found[0])} ${found[1]}` : `${threeDigits(value * 1e9)} ns`;
}

/** A ratio in three digits. */
function ratio(value) {
    return value >= 999.5 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
}

/** A share: "12%", "0.4%". */
function percent(share) {
    if (share > 0 && share < 0.0005) return "<0.1%";
    return `${share < 0.0995 ? (share * 100).toFixed(1) : Math.round(share * 100)}%`;
}

/** "1 page", "3 pages". */
function counted(number, noun) {
    return `${Number(number).toLocaleString("en")} ${noun}${Number(number) === 1 ? "" : "s"}`;
}

/** A readable number with all its digits below, for cells and lists. */
function both(readable, value) {
    return el("span", { class: "both" }, readable, el("small", {}, whole(value)));
}

function scaled(value, steps, unit, plain) {
    if (value === 0) return "0";
    const found = steps.find(([step]) => value >= step * 0.9995);
    if (!found) return `${Math.round(value)} ${unit || plain}`;
    return `${threeDigits(value / found[0])} ${found[1]}${unit}`;
}

function threeDigits(value) {
    if (value >= 1e5) return value.toExponential(2);
    return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

// -- costs: an array in the order of page.cost_fields ---------------------------------------------------------------

function costField(cost, name) {
    return big(cost[page.cost_fields.indexOf(name)]);
}

function flopsOf(cost) {
    return costField(cost, "tensor_flops") + costField(cost, "cuda_flops");
}

/** Bytes moved by role: {weights, activations, kv}. */
function rolesOf(cost) {
    return {
        weights: costField(cost, "weight_read_bytes"),
        activations: costField(cost, "activation_read_bytes") + costField(cost, "activation_write_bytes"),
        kv: costField(cost, "kv_read_bytes") + costField(cost, "kv_write_bytes"),
    };
}

function bytesOf(cost) {
    return total(Object.values(rolesOf(cost)));
}
