// What the numbers rest on: conventions, verification, terms.

function startNotes() {
    fill(
        byId("convention-list"),
        el(
            "ul",
            { class: "plain" },
            page.conventions.map((line) => el("li", {}, line)),
        ),
        page.notes.length
            ? el(
                  "details",
                  { class: "more" },
                  el("summary", {}, "Notes on this report"),
                  el(
                      "ul",
                      {},
                      page.notes.map((line) => el("li", {}, line)),
                  ),
              )
            : null,
        el(
            "details",
            { class: "more" },
            el("summary", {}, "The terms"),
            el(
                "dl",
                { class: "terms" },
                Object.entries(TERMS).map(([name, meaning]) => [el("dt", {}, name), el("dd", {}, meaning)]),
            ),
        ),
        el("details", { class: "more" }, el("summary", {}, "The workload"), facts(profileFacts())),
        page.device ? el("details", { class: "more" }, el("summary", {}, "The device"), facts(deviceFacts())) : null,
    );
    fill(byId("verification-list"), verification());
}

function profileFacts() {
    const { profile } = page;
    return [
        ["profile", profile.name],
        ["mode", profile.mode],
        ["text tokens beside the image", whole(profile.text_tokens)],
        ["base view", `${profile.base_size} px`],
        ["tiles", profile.tile_size === null ? "none" : `${profile.tile_size} px, at most ${profile.max_tiles}`],
        ["new tokens", whole(profile.new_tokens)],
        ["decode steps", whole(profile.decode_steps)],
        ["pages at once", whole(profile.batch_size)],
    ];
}

function deviceFacts() {
    const { device } = page;
    const rates = (unit, found) =>
        Object.entries(found).map(([name, rate]) => [`${unit} ${name}`, flops(rate, "FLOP/s")]);
    return [
        ["device", `${device.title} (${device.name})`],
        ["execution", device.execution],
        ["times", device.level],
        ["memory", bytes(device.memory)],
        ["bandwidth", `${ratio(device.bandwidth / 1e12)} TB/s`],
        ...rates("tensor", device.tensor),
        ...rates("vector", device.vector),
        ["host time a kernel", seconds(device.host_seconds)],
        ...Object.entries(device.calibration ?? {}).map(([name, text]) => [`calibration ${name}`, String(text)]),
    ];
}

function verification() {
    const rows = page.verification.map((statement) => [
        el("code", {}, statement.quantity),
        statement.exact
            ? el("span", { class: "badge good" }, "exact")
            : el(
                  "span",
                  { class: "badge" },
                  statement.bound === null ? "declared" : `within ${percent(statement.bound)}`,
              ),
        statement.stages.join(", "),
        statement.meaning,
    ]);
    const commands = [...new Set(page.verification.map((statement) => statement.command))];
    return [
        el(
            "p",
            { class: "lead" },
            "What modelmeter's comparison with the real model holds. This says what can be checked, not that this run was:",
        ),
        plainTable(
            "Verification",
            [{ title: "Quantity" }, { title: "Held" }, { title: "Stages" }, { title: "Meaning" }],
            rows,
        ),
        el("p", { class: "muted" }, "Check it yourself:"),
        commands.map((command) => el("pre", { tabindex: "0" }, command)),
    ];
}
