// What the terms mean: shown where one is pointed at or focused, and listed with the conventions.

const TERMS = {
    TTFT: "Time to first token: from the page on disk to the first token. The host's work, then vision, then prefill.",
    TPOT: "Time per output token: the mean over the decode steps.",
    MFU: "Model FLOPs utilisation: the FLOPs a stage needs at the device's dense peak, over the time it takes.",
    MBU: "Model bandwidth utilisation: weights used once and the KV cache at full bandwidth, over the time it takes.",
    "KV cache": "Keys and values of all tokens so far, kept for attention.",
    vision: "SAM, CLIP and the projector turn the page's views into image tokens.",
    prefill:
        "One pass over image and text tokens: it fills the KV cache and gives the first token. Vision is part of it.",
    decode: "One pass for each further token. The numbers of this stage are those of the first step.",
    run: "Prefill and all decode steps.",
    "arithmetic intensity":
        "FLOPs for each byte moved. Below the ridge of the roofline memory sets the pace, above it arithmetic.",
    bound: "No implementation on this device is faster: the FLOPs and bytes that a stage cannot do without, at full rate.",
    roofline: "Each operator at the data sheet's rates, with launches: what good kernels come near.",
    calibrated: "Each operator at the rates that kernels were measured to reach on this device.",
    predicted: "The calibrated time where the device was measured, else the roofline's.",
    binds: "What the largest share of the time waits for: tensor cores, vector units, memory or launches.",
    "activation peak": "The most bytes of activations alive at once, the stage's inputs included.",
    "tensor FLOPs": "FLOPs of matrix products in 16 or 8 bits: tensor cores. A multiply-add is 2.",
    "CUDA FLOPs": "FLOPs of products in fp32 and of elementwise work: CUDA cores.",
};

/** A term with its meaning at hand. */
function term(name, text = name) {
    return el("span", { class: "term", tabindex: "0", "data-term": name, "aria-describedby": "tip" }, text);
}

/** One tooltip serves all terms: on pointing, on focus, on tapping; Escape hides it. */
function startTips() {
    const tip = byId("tip");
    const show = (event) => {
        const target = event.target instanceof Element ? event.target.closest("[data-term]") : null;
        if (!target) return;
        tip.textContent = TERMS[target.dataset.term];
        tip.hidden = false;
        const box = target.getBoundingClientRect();
        const left = Math.min(Math.max(8, box.left), document.documentElement.clientWidth - tip.offsetWidth - 8);
        const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
        tip.style.left = `${left}px`;
        tip.style.top = `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
    };
    const hide = () => {
        tip.hidden = true;
    };
    document.addEventListener("mouseover", show);
    document.addEventListener("focusin", show);
    document.addEventListener("mouseout", hide);
    document.addEventListener("focusout", hide);
    document.addEventListener("scroll", hide, { passive: true });
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape") hide();
    });
}
