// The report's data, and which kind of page the page shows.

const page = JSON.parse(byId("report-data").textContent);
const state = { kind: 0 };
for (const found of page.kinds) walk(found.tree, (node) => Object.values(node.stages).forEach(nameOperators));

/** Operators come as arrays in the order of page.operator_fields; from here on they are objects. */
function nameOperators(snapshot) {
    const named = (row) => Object.fromEntries(page.operator_fields.map((field, i) => [field, row[i]]));
    snapshot.operators = snapshot.operators.map(named);
}

const followers = [];

/** Calls `draw` now, and again when another kind of page is chosen. */
function follow(draw) {
    followers.push(draw);
    draw();
}

function chooseKind(index) {
    state.kind = index;
    for (const draw of followers) draw();
}

/** The kind of page that is shown. */
function kind() {
    return page.kinds[state.kind];
}

/** "2 × 3 tiles of 640 px and a view of 1024 px". */
function viewsOf(found) {
    const words = found.views.map(([count, side], i) => {
        const isTiles = found.views.length > 1 && i === 0;
        return isTiles
            ? `${found.grid[0]} × ${found.grid[1]} tiles of ${side} px`
            : count > 1
              ? `${count} views of ${side} px`
              : `one view of ${side} px`;
    });
    return words.join(" and ");
}

/** All pages, each with its document. */
function allPages() {
    return page.documents.flatMap((document) => document.pages.map((one) => ({ ...one, source: document.source })));
}

/** The first page of a kind. */
function firstPage(index) {
    return allPages().find((one) => one.kind === index);
}

/** Calls `visit` for each module of a tree with how often it stands in the model, parents first. */
function walk(node, visit, times = 1) {
    const count = times * node.repeats;
    visit(node, count);
    for (const child of node.children) walk(child, visit, count);
}
