// The documents, their pages, the files that could not be read, and what a run was observed to do.

function startDocuments() {
    const timed = page.device !== null;
    const columns = [
        { title: "Page" },
        { title: "Pixels", numeric: true },
        { title: "Views" },
        { title: "Image tokens", numeric: true },
        { title: "Prompt tokens", numeric: true },
        ...(timed
            ? ["TTFT", "TPOT", "Whole page"].map((title) => ({ title, numeric: true }))
            : [
                  { title: "FLOPs", numeric: true },
                  { title: "Bytes moved", numeric: true },
              ]),
    ];
    const row = (one) => {
        const found = page.kinds[one.kind];
        const cost = found.stages.run.cost;
        const last = timed
            ? [one.time.ttft, one.time.tpot, one.time.total].map((levels) => seconds(levels.predicted))
            : [flops(flopsOf(cost)), bytes(bytesOf(cost))];
        return [
            String(one.number),
            `${one.width} × ${one.height}`,
            viewsOf(found),
            whole(found.image_tokens),
            whole(found.context),
            ...last,
        ];
    };
    const open = page.documents.length <= 8;
    fill(
        byId("document-list"),
        totals(),
        page.documents.map((document) =>
            el(
                "details",
                { class: "document", open },
                el(
                    "summary",
                    {},
                    el("span", { class: "file" }, document.source),
                    el("span", { class: "muted" }, counted(document.pages.length, "page")),
                ),
                plainTable(`Pages of ${document.source}`, columns, document.pages.map(row)),
            ),
        ),
        failures(),
        page.observed.map((table) =>
            el(
                "details",
                { class: "document", open: true },
                el("summary", {}, el("b", {}, table.title), el("span", { class: "muted" }, counted(table.rows.length, "row"))),
                plainTable(table.title, table.columns, table.rows),
            ),
        ),
    );
}

function totals() {
    const cost = page.totals.run.cost;
    const words = [
        `All pages: ${flops(flopsOf(cost))} and ${bytes(bytesOf(cost))} moved`,
        page.total_seconds === null ? null : `${seconds(page.total_seconds)}, one after the other`,
    ];
    return el("p", { class: "lead" }, words.filter(Boolean).join("; "), ".");
}

function failures() {
    if (page.errors.length === 0) return null;
    return el(
        "div",
        { class: "notice" },
        el("h3", {}, `Not read: ${counted(page.errors.length, "source")}`),
        el(
            "ul",
            {},
            page.errors.map(([source, message]) => el("li", {}, el("span", { class: "file" }, source), `: ${message}`)),
        ),
    );
}
