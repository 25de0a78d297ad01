// The first screen: which kind of page, the headline numbers, a card for each stage.

const RESOURCE_NAMES = { tensor: "tensor cores", vector: "vector units", memory: "memory", launch: "launches" };
const ROLE_NAMES = { weights: "weights", activations: "activations", kv: "KV cache" };

function startKindChoice() {
    const label = (found) => `${found.mode}: ${viewsOf(found)} (${counted(found.pages, "page")})`;
    const place = byId("kind-choice");
    if (page.kinds.length === 1) fill(place, el("p", { class: "kind" }, label(page.kinds[0])));
    else
        fill(
            place,
            select(
                "Kind of page",
                "kind",
                page.kinds.map((found, i) => [i, label(found)]),
                0,
                (value) => chooseKind(Number(value)),
            ),
        );
}

function startOverview() {
    follow(() => {
        fill(byId("headline"), headline());
        fill(
            byId("cards"),
            page.run_stages.map((name) => stageCard(name, kind().stages[name])),
        );
    });
}

function headline() {
    const { prefill, decode, run } = kind().stages;
    const time = firstPage(state.kind).time;
    const numbers = time
        ? [
              [term("TTFT"), seconds(time.ttft.predicted), `of it ${seconds(time.host)} on the host`],
              [term("TPOT"), seconds(time.tpot.predicted), `${ratio(time.tokens_per_second)} tokens/s`],
              [
                  "Whole page",
                  seconds(time.total.predicted),
                  `${ratio(time.pages_per_second)} pages/s, one batch after another`,
              ],
          ]
        : [
              ["FLOPs to the first token", flops(flopsOf(prefill.cost)), "vision and prefill"],
              ["FLOPs a further token", flops(flopsOf(decode.cost)), "the first decode step"],
              ["FLOPs in all", flops(flopsOf(run.cost)), `with ${counted(page.profile.decode_steps, "decode step")}`],
          ];
    numbers.push(["Memory at its peak", bytes(peakMemory()), memoryNote()]);
    return numbers.map(([name, value, note]) =>
        el(
            "div",
            { class: "figure" },
            el("div", { class: "figure-name" }, name),
            el("div", { class: "figure-value" }, value),
            el("div", { class: "figure-note" }, note),
        ),
    );
}

/** The most bytes held at once: weights, activations and cache of prefill, or of a decode step. */
function peakMemory() {
    const { prefill } = kind().stages;
    const held = kind().decode.map((point) => big(point.memory));
    held.push(total([prefill.weights, prefill.activations, prefill.kv]));
    return held.reduce((a, b) => (a < b ? b : a));
}

function memoryNote() {
    const weights = `weights ${bytes(page.model.weights)}`;
    if (!page.device) return weights;
    return `${weights}; ${percent(Number(peakMemory()) / Number(page.device.memory))} of the device's ${bytes(page.device.memory)}`;
}

function stageCard(name, stage) {
    return el(
        "article",
        { class: `card stage-${name}`, "aria-labelledby": `card-${name}` },
        el("h3", { id: `card-${name}` }, el("i", { class: `dot stage-${name}` }), term(name)),
        el("p", { class: "card-note" }, stageNote(name)),
        stageTime(name, stage),
        partsBar("Bytes moved", rolesBar(stage.cost)),
        facts(stageFacts(name, stage)),
        stageParts(stage),
    );
}

function stageNote(name) {
    const { image_tokens, context } = kind();
    const batch = page.profile.batch_size;
    const many = batch > 1 ? `, ${together(batch)}` : "";
    const notes = {
        vision: `${viewsOf(kind())}: ${counted(image_tokens, "image token")}`,
        prefill: `vision, then ${counted(context, "token")}, to the first token`,
        decode: `the first step: one token, with ${counted(context, "token")} cached`,
        run: `prefill and ${counted(page.profile.decode_steps, "decode step")}`,
    };
    return notes[name] + many;
}

function stageTime(name, stage) {
    if (!stage.time) {
        const time = firstPage(state.kind).time;
        if (name === "run" && time) {
            const shares = [
                ["host", time.host],
                ["prefill", time.ttft.predicted - time.host],
                ["decode", time.decode.predicted],
            ];
            const parts = shares.map(([part, value]) => ({
                name: part,
                share: value,
                color: `stage-${part}`,
                text: seconds(value),
            }));
            return [
                el("p", { class: "card-time" }, el("strong", {}, seconds(time.total.predicted))),
                partsBar("Where the time goes", parts),
            ];
        }
        return el("p", { class: "card-time" }, el("strong", {}, flops(flopsOf(stage.cost))));
    }
    const { span, binds, measured } = stage.time;
    const share = span[1 + page.resources.indexOf(binds)] / span[0];
    return [
        el(
            "p",
            { class: "card-time" },
            el("strong", {}, seconds(span[0])),
            el(
                "span",
                { class: `badge on-${binds}`, tabindex: "0", "data-term": "binds", "aria-describedby": "tip" },
                `${RESOURCE_NAMES[binds]} bind${/s$/.test(RESOURCE_NAMES[binds]) ? "" : "s"}, ${percent(share)}`,
            ),
        ),
        partsBar("Waits for", resourcesBar(span)),
        measured === null
            ? null
            : el(
                  "p",
                  { class: "card-note" },
                  `measured ${seconds(measured)}: ${ratio(stage.time.ratio)} of the predicted time`,
              ),
    ];
}

function resourcesBar(span) {
    return page.resources.map((name, i) => ({
        name: RESOURCE_NAMES[name],
        share: span[1 + i] / span[0],
        color: `on-${name}`,
        text: percent(span[1 + i] / span[0]),
    }));
}

function rolesBar(cost) {
    const roles = rolesOf(cost);
    const all = Number(bytesOf(cost)) || 1;
    return Object.entries(roles).map(([name, value]) => ({
        name: ROLE_NAMES[name],
        share: Number(value) / all,
        color: `role-${name}`,
        text: bytes(value),
    }));
}

function stageFacts(name, stage) {
    const list = [
        [
            term("tensor FLOPs"),
            both(flops(costField(stage.cost, "tensor_flops")), costField(stage.cost, "tensor_flops")),
        ],
        [term("CUDA FLOPs"), both(flops(costField(stage.cost, "cuda_flops")), costField(stage.cost, "cuda_flops"))],
        ["bytes moved", both(bytes(bytesOf(stage.cost)), bytesOf(stage.cost))],
        [
            term("arithmetic intensity", "intensity"),
            `${ratio(Number(flopsOf(stage.cost)) / (Number(bytesOf(stage.cost)) || 1))} FLOP/B`,
        ],
        [term("activation peak"), both(bytes(stage.activations), stage.activations)],
    ];
    if (name !== "vision") list.push([term("KV cache", "KV cache held"), both(bytes(stage.kv), stage.kv)]);
    if (stage.time) {
        const { levels, mfu, mbu } = stage.time;
        list.push([term("bound"), seconds(levels.bound)], [term("roofline"), seconds(levels.roofline)]);
        if (levels.calibrated !== null) list.push([term("calibrated"), seconds(levels.calibrated)]);
        list.push([term("MFU"), percent(mfu)], [term("MBU"), percent(mbu)]);
    }
    return list;
}

function facts(list) {
    return el(
        "dl",
        { class: "facts" },
        list.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
}

function stageParts(stage) {
    const columns = [{ title: "Part" }, { title: "FLOPs", numeric: true }, { title: "Bytes", numeric: true }];
    if (stage.time) columns.push({ title: "Time", numeric: true });
    const worked = Object.entries(stage.parts).filter(([, part]) => bytesOf(part.cost) > 0n);
    const rows = worked.map(([name, part]) => {
        const row = [name, flops(flopsOf(part.cost)), bytes(bytesOf(part.cost))];
        if (stage.time) row.push(name in stage.time.parts ? seconds(stage.time.parts[name][0]) : null);
        return row;
    });
    return el(
        "details",
        { class: "more" },
        el("summary", {}, "By part"),
        plainTable("Parts of the stage", columns, rows),
    );
}
