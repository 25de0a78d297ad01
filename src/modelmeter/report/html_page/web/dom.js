// Building elements. Text always goes in as text: a file's name can hold anything.

/** The element of an id. */
function byId(id) {
    return document.getElementById(id);
}

/** A new element; `properties` are attributes, except `class`, `on` ({event: listener}) and `style` ({name: value}). */
function el(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (value === null || value === undefined || value === false) continue;
        if (name === "class") element.className = value;
        else if (name === "on")
            for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
        else if (name === "style")
            for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
        else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return element;
}

/** A module's path, which may break after its dots. */
function pathCode(path) {
    const names = path.split(".");
    return el(
        "code",
        {},
        names.map((name, i) => (i < names.length - 1 ? [`${name}.`, el("wbr")] : name)),
    );
}

/** Replaces what an element holds. */
function fill(element, ...children) {
    element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

/** A table in a frame that scrolls sideways on its own; `columns` are {title, numeric}, `rows` arrays of content. */
function plainTable(caption, columns, rows, foot = null) {
    const cell = (tag) => (content, i) => el(tag, { class: columns[i].numeric ? "number" : null }, content ?? "–");
    const head = el(
        "tr",
        {},
        columns.map((column) => el("th", { scope: "col", class: column.numeric ? "number" : null }, column.title)),
    );
    const body = rows.map((row) =>
        el(
            "tr",
            {},
            row.map((content, i) => (i === 0 ? rowHead(content, columns[0]) : cell("td")(content, i))),
        ),
    );
    const table = el(
        "table",
        {},
        el("caption", { class: "unseen" }, caption),
        el("thead", {}, head),
        el("tbody", {}, body),
    );
    if (foot) table.append(el("tfoot", {}, el("tr", {}, foot.map(cell("td")))));
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table);
}

function rowHead(content, column) {
    return el("th", { scope: "row", class: column.numeric ? "number" : null }, content);
}

/** Choices of which one holds, as radio buttons side by side. */
function choice(label, name, options, chosen, onChange) {
    return el(
        "fieldset",
        { class: "choice" },
        el("legend", {}, label),
        el(
            "div",
            {},
            options.map(([value, text]) =>
                el(
                    "label",
                    {},
                    el("input", {
                        type: "radio",
                        name,
                        value,
                        checked: value === chosen,
                        on: { change: () => onChange(value) },
                    }),
                    el("span", {}, text),
                ),
            ),
        ),
    );
}

/** A drop-down list with its label. */
function select(label, id, options, chosen, onChange) {
    const list = el(
        "select",
        { id, on: { change: (event) => onChange(event.target.value) } },
        options.map(([value, text]) => el("option", { value, selected: String(value) === String(chosen) }, text)),
    );
    return el("div", { class: "field" }, el("label", { for: id }, label), list);
}

/** A bar in coloured parts with a legend in words; `parts` are {name, share, color, text}. */
function partsBar(label, parts) {
    const shown = parts.filter((part) => part.share > 0);
    const words = shown.map((part) => `${part.name} ${part.text}`).join(", ");
    return el(
        "div",
        { class: "parts" },
        el("div", { class: "parts-label" }, label),
        el(
            "div",
            { class: "parts-bar", role: "img", "aria-label": words },
            shown.map((part) =>
                el("span", { class: part.color, style: { "flex-grow": String(Math.max(part.share, 0.004)) } }),
            ),
        ),
        el(
            "ul",
            { class: "parts-legend" },
            shown.map((part) => el("li", {}, el("i", { class: part.color }), `${part.name} `, el("b", {}, part.text))),
        ),
    );
}
