// The curves over decode: all memory held, what is held beside the weights, and the time of a step.

function drawDecode() {
    const points = kind().decode;
    const last = points.at(-1);
    byId("decode-lead").textContent =
        `${counted(last.step, "decode step")} after a prompt of ${counted(kind().context, "token")}, ${together(page.profile.batch_size)}. ` +
        `At the end ${bytes(last.memory)} are held, ${bytes(last.kv)} of it KV cache.`;
    drawHeld("memory-chart", points, 2 ** 30, "GiB", ["weights", "kv", "activations"]);
    drawHeld("kv-chart", points, 2 ** 20, "MiB", ["kv", "activations"]);
    byId("step-figure").hidden = page.device === null;
    if (page.device) drawSteps(points);
}

/** Stacked areas of what is held: bytes of each role at each step. */
function drawHeld(id, points, unit, unitName, roles) {
    const held = {
        weights: () => big(page.model.weights),
        kv: (point) => big(point.kv),
        activations: (point) => big(point.memory) - big(page.model.weights) - big(point.kv),
    };
    const area = (role) => ({
        type: "scatter",
        mode: "lines",
        stackgroup: "held",
        name: ROLE_NAMES[role],
        x: points.map((point) => point.step),
        y: points.map((point) => Number(held[role](point)) / unit),
        text: points.map((point) => bytes(held[role](point))),
        hovertemplate: `%{text} ${ROLE_NAMES[role]}<extra></extra>`,
        line: { width: 2, color: color(`role-${role}`) },
        fillcolor: `${color(`role-${role}`)}44`,
    });
    const y = { title: { text: unitName }, rangemode: "tozero" };
    draw(id, roles.map(area), layout(stepAxis(points), y, { hovermode: "x unified" }));
}

function drawSteps(points) {
    const line = (level, dash) => ({
        type: "scatter",
        mode: "lines",
        name: level,
        x: points.map((point) => point.step),
        y: points.map((point) => point.seconds[level] * 1e3),
        text: points.map((point) => seconds(point.seconds[level])),
        hovertemplate: `%{text} ${level}<extra></extra>`,
        line: { width: 2, dash, color: color("stage-decode") },
    });
    const levels = [
        [page.device.level, "solid"],
        ["bound", "dot"],
    ];
    const y = { title: { text: "ms" }, rangemode: "tozero" };
    draw(
        "step-chart",
        levels.map(([level, dash]) => line(level, dash)),
        layout(stepAxis(points), y, { hovermode: "x unified" }),
    );
}

function stepAxis(points) {
    return {
        title: { text: "decode step" },
        range: [points[0].step, points.at(-1).step],
        unifiedhovertitle: { text: "step %{x}" },
    };
}

/** "one page at a time", "16 pages at once". */
function together(batch) {
    return batch === 1 ? "one page at a time" : `${counted(batch, "page")} at once`;
}
