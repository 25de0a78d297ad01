// The layer tree: modules inside modules, down to operators, for one stage at a time. What is closed is not built.

const MEASURES = {
    time: { title: "Time", text: seconds, of: (snapshot, count) => (snapshot.time ? snapshot.time[0] * count : null) },
    flops: { title: "FLOPs", text: flops, of: (snapshot, count) => flopsOf(snapshot.cost) * BigInt(count) },
    bytes: { title: "Bytes moved", text: bytes, of: (snapshot, count) => bytesOf(snapshot.cost) * BigInt(count) },
};
const MOST_SHAPES = 3;
const treeState = { stage: "prefill", measure: "flops" };

function startTree() {
    const measures = Object.entries(MEASURES).filter(([name]) => name !== "time" || page.device);
    if (page.device) treeState.measure = "time";
    const redraw = (name) => (value) => {
        treeState[name] = value;
        drawTree();
    };
    fill(
        byId("tree-controls"),
        choice(
            "Stage",
            "tree-stage",
            page.stage_names.map((name) => [name, name]),
            treeState.stage,
            redraw("stage"),
        ),
        choice(
            "Bars show",
            "tree-measure",
            measures.map(([name, { title }]) => [name, title]),
            treeState.measure,
            redraw("measure"),
        ),
        el("button", { type: "button", on: { click: () => openTree(true) } }, "Open modules"),
        el("button", { type: "button", on: { click: () => openTree(false) } }, "Close all"),
    );
    follow(drawTree);
}

/** Draws the tree, with the modules open that were open before. */
function drawTree() {
    const opened = new Set([...byId("tree").querySelectorAll("details.module[open]")].map((node) => node.dataset.path));
    const root = kind().tree;
    const isFirst = opened.size === 0;
    fill(
        byId("tree"),
        treeHead(),
        moduleNode(root, 1, (path) => (isFirst ? path === root.path : opened.has(path))),
    );
}

function openTree(open) {
    const modules = () => [...byId("tree").querySelectorAll("details.module")].filter((node) => node.open !== open);
    if (!open) {
        for (const node of modules()) if (node.dataset.path !== kind().tree.path) node.open = false;
        return;
    }
    // Opening builds what is inside, so go level by level; modules of operators alone stay closed.
    for (let found = modules(); found.length; found = modules().filter((node) => node.dataset.leaf === undefined)) {
        for (const node of found) if (node.dataset.leaf === undefined) node.open = true;
        if (found.every((node) => node.dataset.leaf !== undefined)) break;
        for (const node of found) if (node.dataset.leaf === undefined) buildInside(node);
    }
}

function treeHead() {
    const columns = [
        ["Module", "module-name"],
        ["Share", "module-bar"],
        ["FLOPs", "number"],
        ["Bytes moved", "number"],
    ];
    if (page.device) columns.push(["Time", "number"]);
    return el(
        "div",
        { class: `module-row tree-head ${page.device ? "timed" : ""}`, "aria-hidden": "true" },
        columns.map(([text, name]) => el("span", { class: name }, text)),
    );
}

const builders = new WeakMap();

function moduleNode(node, times, isOpen) {
    const count = times * node.repeats;
    const snapshot = node.stages[treeState.stage];
    const details = el(
        "details",
        {
            class: `module ${snapshot ? "" : "absent"}`,
            "data-path": node.path,
            "data-leaf": node.children.length ? null : "",
        },
        el(
            "summary",
            { class: `module-row ${page.device ? "timed" : ""}` },
            moduleName(node),
            moduleNumbers(snapshot, count),
        ),
    );
    builders.set(details, () => {
        details.append(
            el(
                "div",
                { class: "inside" },
                moduleFacts(node, count),
                operators(node, snapshot, count),
                node.children.map((child) => moduleNode(child, count, isOpen)),
            ),
        );
    });
    details.addEventListener("toggle", () => {
        if (details.open) buildInside(details);
    });
    if (isOpen(node.path)) {
        buildInside(details);
        details.open = true;
    }
    return details;
}

/** Builds what a module holds, once. */
function buildInside(details) {
    const build = builders.get(details);
    builders.delete(details);
    if (build) build();
}

function moduleName(node) {
    return el(
        "span",
        { class: "module-name" },
        el("code", {}, repeatedName(node)),
        node.repeats > 1
            ? el("span", { class: "times", title: `${node.repeats} equal modules` }, `× ${node.repeats}`)
            : null,
        el("span", { class: "class-name" }, node.class),
    );
}

/** "layers.1 … 11": the last names of equal modules. */
function repeatedName(node) {
    const names = node.path.split(".");
    const isListed = /^\d+$/.test(names.at(-1));
    const name = isListed ? names.slice(-2).join(".") : node.name;
    if (node.repeats === 1) return name;
    const last = node.paths.at(-1).split(".");
    const places = node.paths.map((path) => Number(path.split(".").at(-1)));
    const inOrder = places.every((place, i) => i === 0 || place === places[i - 1] + 1);
    return inOrder ? `${name} … ${last.at(-1)}` : `${name}, …, ${last.at(-1)}`;
}

function moduleNumbers(snapshot, count) {
    if (!snapshot) return [el("span", { class: "module-bar muted" }, `not in ${treeState.stage}`)];
    const measure = MEASURES[treeState.measure];
    const whole = Number(measure.of(kind().tree.stages[treeState.stage], 1)) || 1;
    const share = Number(measure.of(snapshot, count)) / whole;
    return [
        el(
            "span",
            { class: "module-bar" },
            el(
                "span",
                { class: "track" },
                el("span", { class: `stage-${treeState.stage}`, style: { width: `${Math.min(share, 1) * 100}%` } }),
            ),
            el("span", { class: "share" }, percent(share)),
        ),
        el("span", { class: "number", "data-label": "FLOPs" }, flops(MEASURES.flops.of(snapshot, count))),
        el("span", { class: "number", "data-label": "bytes" }, bytes(MEASURES.bytes.of(snapshot, count))),
        page.device
            ? el("span", { class: "number", "data-label": "time" }, seconds(MEASURES.time.of(snapshot, count)))
            : null,
    ];
}

function moduleFacts(node, count) {
    const snapshot = node.stages[treeState.stage];
    const list = [["path", el("code", {}, node.path || "(model)", node.repeats > 1 ? ` … ${node.paths.at(-1)}` : "")]];
    list.push([
        "parameters",
        count > 1 ? `${whole(node.parameters)} each, ${count} in the model` : whole(node.parameters),
    ]);
    list.push(["weights", both(bytes(node.weights), node.weights)]);
    if (snapshot) {
        list.push([
            term("activation peak", "activation peak of a call"),
            both(bytes(snapshot.activations), snapshot.activations),
        ]);
        const measured = snapshot.time?.[1 + page.resources.length];
        if (measured !== undefined)
            list.push([
                "measured",
                `${seconds(measured)} each, ${ratio(measured / snapshot.time[0])} of the predicted time`,
            ]);
    }
    for (const [name, shape, dtype, held] of node.own)
        list.push([el("code", {}, name), `[${shape.join(" ")}] ${dtype}, ${bytes(held)}`]);
    return el("div", { class: "module-facts" }, el("p", {}, withCode(node.about)), facts(list));
}

function operators(node, snapshot, count) {
    if (!snapshot || snapshot.operators.length === 0) return null;
    const columns = [
        { title: "Operator" },
        { title: "Kind" },
        { title: "Output" },
        { title: "Calls", numeric: true },
        { title: "FLOPs", numeric: true },
        { title: "Bytes moved", numeric: true },
    ];
    if (page.device) columns.push({ title: "Time", numeric: true }, { title: "Waits for" });
    const rows = snapshot.operators.map((operator) => {
        const row = [
            el("code", {}, operator.name),
            `${operator.category}, ${operator.dtype}`,
            shapesOf(operator),
            whole(operator.calls * count),
            flops(flopsOf(operator.cost) * BigInt(count)),
            bytes(bytesOf(operator.cost) * BigInt(count)),
        ];
        if (page.device)
            row.push(
                operator.time ? seconds(operator.time[0] * count) : null,
                operator.time ? waitsFor(operator.time) : null,
            );
        return row;
    });
    return plainTable(`Operators of ${node.path || "the model"} in ${treeState.stage}`, columns, rows);
}

/** The output shapes, of many the first ones. */
function shapesOf(operator) {
    const words = operator.shapes.map((shape) => `[${shape.join(" ")}]`);
    const more = words.length - MOST_SHAPES;
    return more > 0
        ? el("span", { title: words.join(" ") }, `${words.slice(0, MOST_SHAPES).join(" ")} and ${more} more`)
        : words.join(" ");
}

function waitsFor(span) {
    if (span[0] === 0) return "–";
    const shares = span.slice(1, 1 + page.resources.length);
    return RESOURCE_NAMES[page.resources[shares.indexOf(Math.max(...shares))]];
}
