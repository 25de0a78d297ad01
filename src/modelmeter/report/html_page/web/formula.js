// Closed formulas, as trees of lists: ["*", "62280", "B", ["^", "S", "2"]].
// Integers stay BigInt, exact at any size, until an operation leaves them (a fraction to a power, a division with a
// rest): from there on a number is a float of 53 bits, 15 to 16 digits.

const ARITHMETIC = {
    "+": (a, b) => a + b,
    "*": (a, b) => a * b,
    max: (a, b) => (a < b ? b : a),
    min: (a, b) => (b < a ? b : a),
};
const COMPARISONS = {
    eq: (a, b) => a == b, // a BigInt and a float of one value are equal this way
    ne: (a, b) => a != b,
    lt: (a, b) => a < b,
    le: (a, b) => a <= b,
    gt: (a, b) => a > b,
    ge: (a, b) => a >= b,
};
const LARGEST_EXPONENT = 64n;

/** The value of a tree: a BigInt where it is exact, else a float. `symbols` are {name: BigInt}. */
function evaluate(node, symbols) {
    if (typeof node === "string") return atom(node, symbols);
    const [operation, ...rest] = node;
    if (operation === "true" || operation === "false") return operation === "true";
    if (operation === "cases") {
        const found = rest.find(([, condition]) => evaluate(condition, symbols));
        if (!found) throw new Error("no case of a formula holds");
        return evaluate(found[0], symbols);
    }
    const values = rest.map((child) => evaluate(child, symbols));
    if (operation in COMPARISONS) return COMPARISONS[operation](...values);
    if (operation in ARITHMETIC) return values.reduce((a, b) => ARITHMETIC[operation](...alike(a, b)));
    if (operation === "/") return divide(...values);
    if (operation === "^") return power(...values);
    if (operation === "ceil" || operation === "floor") return rounded(values[0], operation);
    throw new Error(`formulas have no operation ${operation}`);
}

function atom(text, symbols) {
    if (/^-?\d+$/.test(text)) return BigInt(text);
    if (/^-?\d/.test(text)) return Number(text);
    if (!(text in symbols)) throw new Error(`no value for ${text}`);
    return symbols[text];
}

/** Both exact, or both floats. */
function alike(a, b) {
    return typeof a === typeof b ? [a, b] : [Number(a), Number(b)];
}

function divide(a, b) {
    const exact = typeof a === "bigint" && typeof b === "bigint" && a % b === 0n;
    return exact ? a / b : Number(a) / Number(b);
}

function power(base, exponent) {
    const exact =
        typeof base === "bigint" && typeof exponent === "bigint" && exponent >= 0n && exponent <= LARGEST_EXPONENT;
    return exact ? base ** exponent : Number(base) ** Number(exponent);
}

function rounded(value, operation) {
    return typeof value === "bigint" ? value : BigInt(Math[operation](value));
}

/** The sum of a formula over `steps` values of a symbol, from `first` on. Rows that grow evenly are summed at once. */
function sumOver(node, symbols, name, first, steps) {
    const at = (i) => evaluate(node, { ...symbols, [name]: first + i });
    if (steps === 0n) return 0n;
    const [start, end] = [at(0n), at(steps - 1n)];
    if (isLinear(node, name)) return divide(times(add(start, end), steps), 2n);
    let sum = start;
    for (let i = 1n; i < steps; i += 1n) sum = add(sum, at(i));
    return sum;
}

/** Whether a symbol occurs in sums and products alone, at most once in each product. */
function isLinear(node, name) {
    return degree(node, name) <= 1;
}

function degree(node, name) {
    if (typeof node === "string") return node === name ? 1 : 0;
    const degrees = node.slice(1).map((child) => degree(child, name));
    if (node[0] === "+") return Math.max(...degrees);
    if (node[0] === "*") return degrees.reduce((a, b) => a + b);
    return degrees.some((found) => found > 0) ? Infinity : 0;
}

function add(a, b) {
    return ARITHMETIC["+"](...alike(a, b));
}

function times(a, b) {
    return ARITHMETIC["*"](...alike(a, b));
}
