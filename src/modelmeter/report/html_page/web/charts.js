// The charts, drawn by Plotly in the colours of the page.

// The buttons are named, and the server has no address: Plotly's own set has one that sends the data to its makers.
const CHART_SETTINGS = {
    displaylogo: false,
    responsive: true,
    plotlyServerURL: "",
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
};
// On paper charts are as wide as A4 or Letter leave them, pixels: no layout says so before the print begins.
const PRINT_WIDTHS = { "roofline-chart": 660, "memory-chart": 310, "kv-chart": 310, "step-chart": 310 };
const STAGE_SYMBOLS = { vision: "circle", prefill: "square", decode: "triangle-up" };

/** Hides the sections that have nothing to draw. */
function hideEmptyCharts() {
    byId("roofline").hidden = page.kinds.every((found) => found.roofline.length === 0);
    byId("decode").hidden = page.kinds.every((found) => found.decode.length < 2);
}

function startCharts() {
    follow(drawCharts);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawCharts);
    // Paper is white, whatever the screen is.
    window.addEventListener("beforeprint", () => inPrint(true));
    window.addEventListener("afterprint", () => inPrint(false));
}

function isPrinting() {
    return document.documentElement.classList.contains("printing");
}

function inPrint(printing) {
    document.documentElement.classList.toggle("printing", printing);
    drawCharts();
}

function drawCharts() {
    if (!byId("roofline").hidden) drawRoofline();
    if (!byId("decode").hidden) drawDecode();
}

/** A colour of the style sheet. */
function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Plotly reads a few HTML tags in its texts: names are to have none. */
function plotText(text) {
    return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function layout(x, y, more = {}) {
    const axis = (settings) => ({
        gridcolor: color("line"),
        linecolor: color("line"),
        zeroline: false,
        automargin: true,
        ...settings,
    });
    return {
        font: { family: "system-ui, sans-serif", size: 12, color: color("ink") },
        paper_bgcolor: "transparent",
        plot_bgcolor: "transparent",
        margin: { l: 56, r: 12, t: 12, b: 44 },
        hoverlabel: {
            bgcolor: color("panel"),
            bordercolor: color("line"),
            font: { color: color("ink") },
            align: "left",
        },
        legend: { orientation: "h", traceorder: "normal", x: 0, y: 1.02, yanchor: "bottom" },
        modebar: { bgcolor: "transparent", color: color("muted"), activecolor: color("ink") },
        dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
        xaxis: axis(x),
        yaxis: axis(y),
        ...more,
    };
}

/** Whether there is room for words in the roofline. */
function isWide() {
    return window.innerWidth > 640 && !isPrinting();
}

function draw(id, traces, how, withButtons = false) {
    const width = isPrinting() ? PRINT_WIDTHS[id] : undefined;
    Plotly.react(
        id,
        traces,
        { ...how, width, autosize: !width },
        { ...CHART_SETTINGS, displayModeBar: withButtons ? "hover" : false },
    );
}

// -- roofline -------------------------------------------------------------------------------------------------------

function drawRoofline() {
    const { device } = page;
    const points = kind().roofline;
    fill(
        byId("roofline-lead"),
        "Large marks are whole stages, small ones the operators that take most of a stage's time. ",
        `Below the ridge memory sets the pace. Times: ${device.level}, ${device.execution}.`,
    );
    const stages = page.stage_names.filter((stage) => points.some((point) => point.stage === stage));
    const flat = roofs(points);
    const traces = [
        ...flat.map(roofTrace),
        ...stages.flatMap((stage) => [true, false].map((isWhole) => pointTrace(stage, isWhole, points))),
    ];
    const x = {
        ...decades(1e-3, 1e6, ratio),
        title: { text: isWide() ? "arithmetic intensity, FLOP per byte moved" : "FLOP per byte moved" },
    };
    const y = { ...decades(1e3, 1e18, (rate) => flops(rate, "").replace(/\.0+ /, " ")), title: { text: "FLOP/s" } };
    draw(
        "roofline-chart",
        traces.filter((trace) => trace.x.length),
        layout(x, y, { hovermode: "closest", annotations: isWide() ? flat.map(roofLabel) : [] }),
        isWide(),
    );
    fill(byId("roofline-table"), rooflineTable(points));
}

function pointTrace(stage, isWhole, points) {
    const own = points.filter((point) => point.stage === stage && point.whole === isWhole);
    return {
        type: "scatter",
        mode: isWhole ? "markers+text" : "markers",
        name: isWhole ? `${stage}, the whole stage` : `operators of ${stage}`,
        showlegend: isWide(),
        x: own.map((point) => point.intensity),
        y: own.map((point) => point.rate),
        text: isWhole ? [stage] : null,
        textposition: stage === "vision" ? "bottom right" : "middle left",
        textfont: { weight: 600 },
        cliponaxis: false,
        customdata: own.map(
            (point) =>
                `<b>${plotText(point.name)}</b><br>${percent(point.share)} of ${stage}<br>${flops(point.rate, "FLOP/s")} at ${ratio(point.intensity)} FLOP/B`,
        ),
        hovertemplate: "%{customdata}<extra></extra>",
        marker: {
            opacity: 1,
            symbol: STAGE_SYMBOLS[stage],
            size: isWhole ? 16 : own.map((point) => 7 + 8 * Math.sqrt(point.share)),
            color: isWhole ? color(`stage-${stage}`) : color("panel"),
            line: { color: color(`stage-${stage}`), width: 2 },
        },
    };
}

/** The flat roofs with their slope: the rates of the device by format; formats of one rate are one roof. */
function roofs(points) {
    const { device } = page;
    const names = new Map();
    const add = (unit, found, formats) => {
        for (const format of formats)
            if (format in found)
                names.set(
                    found[format],
                    names.has(found[format]) ? `${format}, ${names.get(found[format])}` : `${format} ${unit}`,
                );
    };
    add("tensor", device.tensor, ["bf16", "fp16", "fp8"]);
    add("vector", device.vector, ["fp32"]);
    const rates = [...names.keys()];
    const left = Math.min(...points.map((point) => point.intensity)) / 3;
    const right = Math.max(
        (Math.max(...rates) / device.bandwidth) * 4,
        Math.max(...points.map((point) => point.intensity)) * 2,
    );
    return rates.map((rate) => ({
        name: `${names.get(rate)}: ${flops(rate, "FLOP/s")}`,
        rate,
        left,
        right,
        isTop: rate === Math.max(...rates),
    }));
}

function roofTrace({ name, rate, left, right, isTop }) {
    const ridge = rate / page.device.bandwidth;
    const x = logSteps(isTop ? left : ridge, right, ridge);
    return {
        type: "scatter",
        mode: "lines",
        name,
        showlegend: false,
        x,
        y: x.map((at) => Math.min(at * page.device.bandwidth, rate)),
        line: { color: color("muted"), width: 1.5 },
        hovertemplate: `${name}<br>ridge at ${ratio(ridge)} FLOP/B<extra></extra>`,
    };
}

/** The name of a roof on its right end. */
function roofLabel({ name, rate, right, isTop }) {
    return {
        x: Math.log10(right),
        y: Math.log10(rate),
        text: name,
        showarrow: false,
        xanchor: "right",
        yanchor: isTop ? "bottom" : "top",
        font: { size: 11, color: color("muted") },
    };
}

/** An axis of powers of ten, each with its name. */
function decades(from, to, text) {
    const tickvals = [];
    for (let value = from; value < to * 2; value *= 10) tickvals.push(value);
    return { type: "log", tickvals, ticktext: tickvals.map((value) => text(Number(value.toPrecision(1)))) };
}

/** From left to right in even steps of the logarithm, with the ridge among them. */
function logSteps(left, right, ridge) {
    const steps = Array.from({ length: 41 }, (_, i) => left * (right / left) ** (i / 40));
    return [...steps, ridge].filter((x) => x >= left && x <= right).sort((a, b) => a - b);
}

function rooflineTable(points) {
    const columns = [
        { title: "Point" },
        { title: "Stage" },
        { title: "FLOP per byte", numeric: true },
        { title: "FLOP/s", numeric: true },
        { title: "Share of the stage", numeric: true },
    ];
    const rows = points.map((point) => [
        el("code", {}, point.name),
        point.stage,
        ratio(point.intensity),
        flops(point.rate, "FLOP/s"),
        percent(point.share),
    ]);
    return el(
        "details",
        { class: "more" },
        el("summary", {}, "The points as a table"),
        plainTable("Points of the roofline", columns, rows),
    );
}
