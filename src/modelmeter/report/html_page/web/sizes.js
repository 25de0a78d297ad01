// Other sizes: the closed formulas of this kind of page, worked out for the sizes that the sliders give.

const BATCHES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
const LARGEST_SIZE = 1_000_000;
const sizes = { S: 0, B: 0, K: 0 };

function startSizes() {
    if (page.kinds.every((found) => found.formulas.length === 0)) {
        byId("sizes").hidden = true;
        return;
    }
    follow(() => {
        Object.assign(sizes, { S: kind().context, B: page.profile.batch_size, K: page.profile.decode_steps });
        fill(
            byId("sizes-lead"),
            `Worked out here, in the page, from the closed formulas of ${viewsOf(kind())}: `,
            "FLOPs and KV cache to the last digit at any size; bytes of expert weights as expected values, which the model rounds once an operator.",
        );
        drawSliders();
        drawSizes();
        drawFormulas();
    });
}

function drawSliders() {
    const steps = (values) => ({ values, min: 0, max: values.length - 1 });
    fill(
        byId("sliders"),
        slider("S", "Context", "tokens of the prompt, images included", {
            min: kind().image_tokens,
            max: page.model.max_positions,
        }),
        slider("B", "Batch", "pages of this kind at once", steps(BATCHES)),
        slider("K", "Decode length", "decode steps, each one token", { min: 0, max: page.model.max_positions }),
        el("button", { type: "button", on: { click: resetSizes } }, "Sizes of this report"),
    );
}

function resetSizes() {
    Object.assign(sizes, { S: kind().context, B: page.profile.batch_size, K: page.profile.decode_steps });
    drawSliders();
    drawSizes();
}

/** A slider and a field for the same size: the field takes any number, the slider those on its scale. */
function slider(name, title, note, scale) {
    const least = name === "S" ? kind().image_tokens : name === "B" ? 1 : 0;
    const read = (range) => (scale.values ? scale.values[Number(range.value)] : Number(range.value));
    const placed = (value) => (scale.values ? nearest(scale.values, value) : value);
    const range = el("input", {
        type: "range",
        id: `slider-${name}`,
        min: scale.min,
        max: Math.max(scale.max, least),
        "aria-label": `${title}: ${note}`,
        "aria-valuetext": String(sizes[name]),
    });
    const field = el("input", {
        type: "number",
        id: `size-${name}`,
        min: least,
        max: LARGEST_SIZE,
        step: 1,
        value: sizes[name],
        inputmode: "numeric",
    });
    range.value = String(placed(sizes[name]));
    const set = (value) => {
        sizes[name] = value;
        range.setAttribute("aria-valuetext", String(value));
        drawSizes();
    };
    range.addEventListener("input", () => {
        field.value = String(read(range));
        set(read(range));
    });
    field.addEventListener("input", () => {
        if (field.value === "" || !field.checkValidity()) return;
        range.value = String(placed(Number(field.value)));
        set(Number(field.value));
    });
    // what is no size gives way to the size in use
    field.addEventListener("change", () => {
        field.value = String(sizes[name]);
    });
    return el(
        "div",
        { class: "slider" },
        el("label", { for: `size-${name}` }, title),
        field,
        range,
        el("p", { class: "muted" }, note),
    );
}

function nearest(values, wanted) {
    return values.reduce(
        (best, value, i) => (Math.abs(Math.log(value / wanted)) < Math.abs(Math.log(values[best] / wanted)) ? i : best),
        0,
    );
}

/** The values of a formula's symbols: sizes, and 1 or 0 for those above 1. */
function symbolsOf({ B, S, T }) {
    const symbols = {};
    for (const [name, value] of Object.entries({ B, S, T })) {
        symbols[name] = BigInt(value);
        symbols[`${name}_above_1`] = value > 1 ? 1n : 0n;
    }
    return symbols;
}

/** {quantity: tree} of a stage. */
function formulasOf(stage) {
    return Object.fromEntries(
        kind()
            .formulas.filter((formula) => formula.stage === stage)
            .map((formula) => [formula.quantity, formula.tree]),
    );
}

/** What the formulas give at sizes: {vision, prefill, first, last, run} -> {quantity: BigInt or float}. */
function atSizes({ S, B, K }) {
    const stage = (name, T) => mapValues(formulasOf(name), (tree) => evaluate(tree, symbolsOf({ B, S, T })));
    const prefill = stage("prefill", 0);
    const decode = formulasOf("decode");
    const run = mapValues(prefill, (value, name) =>
        add(value, sumOver(decode[name], symbolsOf({ B, S, T: 2 }), "T", BigInt(S), BigInt(K))),
    );
    const last = stage("decode", S + Math.max(K - 1, 0));
    // The cache holds what was cached before a step; after the last step one token more.
    run.kv_cache_bytes = evaluate(decode.kv_cache_bytes, symbolsOf({ B, S, T: S + K }));
    return { vision: stage("vision", 0), prefill, first: stage("decode", S), last, run };
}

function mapValues(object, change) {
    return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value, name)]));
}

function sum(values) {
    return values.reduce((a, b) => add(a, b), 0n);
}

const SIZE_ROWS = [
    ["tensor FLOPs", "tensor_flops", flops],
    ["CUDA FLOPs", "cuda_flops", flops],
    ["weights read", "weight_bytes", bytes],
    ["activations moved", "activation_bytes", bytes],
    ["KV cache moved", "kv_bytes", bytes],
    ["bytes moved", "io_bytes", bytes],
    ["KV cache held", "kv_cache_bytes", bytes],
];

function drawSizes() {
    const found = mapValues(atSizes(sizes), (stage) => ({
        ...stage,
        io_bytes: sum([stage.weight_bytes, stage.activation_bytes, stage.kv_bytes]),
    }));
    const columns = [
        { title: "" },
        ...["Vision", "Prefill", "First decode step", "Last decode step", "Whole run"].map((title) => ({
            title,
            numeric: true,
        })),
    ];
    const stages = Object.entries(found);
    const rows = SIZE_ROWS.map(([title, quantity, text]) => [
        title in TERMS ? term(title) : title,
        ...stages.map(([stage, values]) =>
            quantity in values ? value(values[quantity], text, `${stage}-${quantity}`) : null,
        ),
    ]);
    if (page.device) rows.push(...deviceRows(stages));
    fill(
        byId("sizes-result"),
        sizesSummary(found),
        plainTable("Cost at these sizes", columns, rows),
        el(
            "p",
            { class: "muted small" },
            "Digits below: exact integers; after ≈ floats of 53 bits (15 digits), rounded to whole bytes. The last rows are plain limits, not times: one resource alone at its full rate.",
        ),
    );
}

function value(found, text, id) {
    const digits = typeof found === "bigint" ? whole(found) : `≈ ${whole(Math.round(found))}`;
    return el("span", { class: "both", "data-value": id }, text(found), el("small", {}, digits));
}

/** Two plain limits: all tensor FLOPs at the bf16 peak (the best one where there is none), all bytes at full bandwidth. */
function deviceRows(stages) {
    const peak = Math.max(...Object.values(page.device.tensor), ...Object.values(page.device.vector));
    const rate = page.device.tensor.bf16 ?? peak;
    const row = (title, of) => [title, ...stages.map(([, values]) => seconds(of(values)))];
    return [
        row(
            `tensor FLOPs at the ${page.device.tensor.bf16 ? "bf16" : "best"} peak, ${flops(rate, "FLOP/s")}`,
            (values) => Number(values.tensor_flops) / rate,
        ),
        row(
            `bytes at ${ratio(page.device.bandwidth / 1e12)} TB/s`,
            (values) => Number(values.io_bytes) / page.device.bandwidth,
        ),
    ];
}

function sizesSummary({ run }) {
    const held = add(big(page.model.weights), run.kv_cache_bytes);
    const words = `Weights and the KV cache at the end: ${bytes(held)}`;
    const { S, B, K } = sizes;
    const beyond =
        S + K > page.model.max_positions
            ? ` ${whole(S + K)} positions are more than the model's ${whole(page.model.max_positions)}.`
            : "";
    if (!page.device) return el("p", { class: "result", role: "status" }, `${words}.`, beyond);
    const share = Number(held) / Number(page.device.memory);
    const room =
        share > 1 ? "more than the device has" : `${percent(share)} of the device's ${bytes(page.device.memory)}`;
    return el(
        "p",
        { class: `result ${share > 1 || beyond ? "over" : ""}`, role: "status" },
        `${words}, ${room}; ${counted(B * (K + 1), "token")} come out.`,
        beyond,
    );
}

function drawFormulas() {
    const list = kind().formulas.map((formula) => [
        [el("code", {}, formula.quantity), ` ${formula.stage}`],
        el("code", { class: "formula" }, formula.text.replaceAll("**", "^").replaceAll("*", " ")),
    ]);
    const symbols = Object.assign({}, ...kind().formulas.map((formula) => formula.symbols));
    const limits = [...new Set(kind().formulas.flatMap((formula) => formula.limits))];
    fill(
        byId("sizes-formulas"),
        el(
            "details",
            { class: "more" },
            el("summary", {}, "The formulas"),
            el(
                "dl",
                { class: "terms" },
                Object.entries(symbols).map(([name, meaning]) => [
                    el("dt", {}, el("code", {}, name)),
                    el("dd", {}, meaning),
                ]),
            ),
            plainTable("Closed formulas", [{ title: "Quantity" }, { title: "Formula" }], list),
            limits.map((limit) => el("p", { class: "muted small" }, limit)),
        ),
    );
}
