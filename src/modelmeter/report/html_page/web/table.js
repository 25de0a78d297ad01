// All operators of a kind of page as one table: sort, filter, download as CSV. Numbers are exact integers.

const TABLE_STEP = 40;
const TABLE_COLUMNS = [
    { name: "stage", title: "Stage" },
    { name: "module", title: "Module" },
    { name: "class", title: "Class", inFileOnly: true },
    { name: "modules", title: "Modules", numeric: true, inFileOnly: true },
    { name: "operator", title: "Operator" },
    { name: "category", title: "Kind" },
    { name: "dtype", title: "Type", inFileOnly: true },
    { name: "calls", title: "Calls", numeric: true },
    { name: "seconds", title: "Time", numeric: true, text: seconds, timed: true },
    { name: "tensor_flops", title: "Tensor FLOPs", numeric: true, inFileOnly: true },
    { name: "cuda_flops", title: "CUDA FLOPs", numeric: true, inFileOnly: true },
    { name: "flops", title: "FLOPs", numeric: true, text: flops },
    { name: "io_bytes", title: "Bytes moved", numeric: true, text: bytes },
    { name: "weight_bytes", title: "Weights", numeric: true, text: bytes },
    { name: "activation_bytes", title: "Activations", numeric: true, text: bytes },
    { name: "kv_bytes", title: "KV cache", numeric: true, text: bytes },
];
const SUMMED = ["calls", "flops", "weight_bytes", "activation_bytes", "kv_bytes", "io_bytes", "seconds"];
const tableState = {
    rows: [],
    sort: null,
    descending: false,
    shown: TABLE_STEP,
    text: "",
    stage: "prefill",
    category: "",
};

/** The columns of the file: those of the table, and some more. */
function fileColumns() {
    return TABLE_COLUMNS.filter((column) => !column.timed || page.device);
}

function tableColumns() {
    return fileColumns().filter((column) => !column.inFileOnly && !(column.name === "stage" && tableState.stage));
}

function startTable() {
    const change = (name) => (value) => {
        tableState[name] = value;
        tableState.shown = TABLE_STEP;
        drawTable();
    };
    const filter = el("input", {
        type: "search",
        id: "table-filter",
        placeholder: "experts, softmax, self_attn …",
        on: { input: (event) => change("text")(event.target.value) },
    });
    const categories = new Set();
    for (const found of page.kinds)
        walk(found.tree, (node) => {
            for (const snapshot of Object.values(node.stages))
                for (const operator of snapshot.operators) categories.add(operator.category);
        });
    fill(
        byId("table-controls"),
        el("div", { class: "field grow" }, el("label", { for: "table-filter" }, "Filter by name"), filter),
        select(
            "Stage",
            "table-stage",
            [["", "all"], ...page.stage_names.map((name) => [name, name])],
            tableState.stage,
            change("stage"),
        ),
        select(
            "Kind",
            "table-category",
            [["", "all"], ...[...categories].map((name) => [name, name])],
            "",
            change("category"),
        ),
        el("button", { type: "button", id: "table-download", on: { click: downloadTable } }, "Download CSV"),
    );
    follow(() => {
        tableState.rows = tableRows(kind().tree);
        drawTable();
    });
}

/** A row for each operator of each module and stage, times the modules that the row stands for. */
function tableRows(tree) {
    const rows = [];
    for (const stage of page.stage_names) {
        walk(tree, (node, count) => {
            for (const operator of node.stages[stage]?.operators ?? [])
                rows.push(tableRow(stage, node, count, operator));
        });
    }
    return rows;
}

function tableRow(stage, node, count, operator) {
    const times = BigInt(count);
    const roles = rolesOf(operator.cost);
    const row = {
        stage,
        module: node.path || "(model)",
        class: node.class,
        modules: count,
        operator: operator.name,
        category: operator.category,
        dtype: operator.dtype,
        calls: operator.calls * count,
        tensor_flops: costField(operator.cost, "tensor_flops") * times,
        cuda_flops: costField(operator.cost, "cuda_flops") * times,
        flops: flopsOf(operator.cost) * times,
        weight_bytes: roles.weights * times,
        activation_bytes: roles.activations * times,
        kv_bytes: roles.kv * times,
        io_bytes: bytesOf(operator.cost) * times,
    };
    if (page.device) row.seconds = operator.time ? operator.time[0] * count : 0;
    return row;
}

/** The rows that pass the filters, in order. */
function chosenRows() {
    const words = tableState.text.toLowerCase().split(/\s+/).filter(Boolean);
    const passes = (row) => {
        const text = `${row.module} ${row.class} ${row.operator}`.toLowerCase();
        return (
            (!tableState.stage || row.stage === tableState.stage) &&
            (!tableState.category || row.category === tableState.category) &&
            words.every((word) => text.includes(word))
        );
    };
    const rows = tableState.rows.filter(passes);
    if (tableState.sort === null) return rows;
    const sign = tableState.descending ? -1 : 1;
    const order = (a, b) => (a < b ? -sign : a > b ? sign : 0);
    return rows.sort((a, b) => order(a[tableState.sort], b[tableState.sort]));
}

function drawTable() {
    const rows = chosenRows();
    const columns = tableColumns();
    const shown = rows.slice(0, tableState.shown);
    const table = plainTable(
        "All operators",
        columns.map((column) => ({ ...column, title: sortButton(column) })),
        shown.map((row) => columns.map((column) => cellOf(row, column))),
        tableState.stage ? columns.map((column, i) => footOf(rows, column, i)) : null,
    );
    const heads = table.querySelectorAll("thead th");
    columns.forEach((column, i) => {
        if (column.name === tableState.sort)
            heads[i].setAttribute("aria-sort", tableState.descending ? "descending" : "ascending");
    });
    const left = rows.length - shown.length;
    const focused = document.activeElement?.dataset?.sort;
    const position = byId("table").querySelector(".scroll")?.scrollLeft ?? 0;
    fill(
        byId("table"),
        el(
            "p",
            { class: "muted", role: "status" },
            `${whole(rows.length)} of ${counted(tableState.rows.length, "row")}`,
        ),
        table,
        left > 0
            ? el(
                  "button",
                  { type: "button", class: "more-rows", on: { click: showMore } },
                  `Show ${Math.min(left, TABLE_STEP * 5)} more`,
              )
            : null,
    );
    table.scrollLeft = position;
    if (focused) table.querySelector(`[data-sort="${focused}"]`).focus();
}

function showMore() {
    tableState.shown += TABLE_STEP * 5;
    drawTable();
}

function sortButton(column) {
    const chosen = column.name === tableState.sort;
    const mark = chosen ? (tableState.descending ? "↓" : "↑") : "";
    return el(
        "button",
        { type: "button", class: "sort", "data-sort": column.name, on: { click: () => sortBy(column) } },
        column.title,
        el("span", { "aria-hidden": "true" }, mark),
    );
}

/** Numbers begin with the largest; a second click turns the order round. */
function sortBy(column) {
    tableState.descending = tableState.sort === column.name ? !tableState.descending : Boolean(column.numeric);
    tableState.sort = column.name;
    drawTable();
}

function cellOf(row, column) {
    const found = row[column.name];
    if (column.numeric && Number(found) === 0) return el("span", { class: "muted" }, "0");
    if (column.text) return el("span", { title: typeof found === "bigint" ? whole(found) : null }, column.text(found));
    if (column.numeric) return whole(found);
    if (column.name === "module")
        return [pathCode(found), row.modules > 1 ? el("span", { class: "times" }, `× ${row.modules}`) : null].filter(
            Boolean,
        );
    return column.name === "operator" ? el("code", {}, found) : found;
}

function footOf(rows, column, i) {
    if (i === 0) return "sum";
    if (!SUMMED.includes(column.name)) return "";
    const zero = column.name === "seconds" || column.name === "calls" ? 0 : 0n;
    return cellOf({ [column.name]: rows.reduce((all, row) => all + row[column.name], zero) }, column);
}

function csvText(rows) {
    const columns = fileColumns();
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const line = (cells) => cells.map((cell) => quoted(String(cell))).join(",");
    return (
        [
            line(columns.map((column) => column.name)),
            ...rows.map((row) => line(columns.map((column) => row[column.name]))),
        ].join("\r\n") + "\r\n"
    );
}

function downloadTable() {
    const link = el("a", {
        href: URL.createObjectURL(new Blob([csvText(chosenRows())], { type: "text/csv" })),
        download: "modelmeter-operators.csv",
    });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
