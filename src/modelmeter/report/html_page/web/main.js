// Starts the page: what needs no drawing first, the charts once Plotly's script, which comes last, is there.

function startHeader() {
    const pages = allPages().length;
    const parts = [
        `${counted(page.documents.length, "document")}, ${counted(pages, "page")}`,
        `profile ${page.profile.name}`,
        page.model.precision,
        page.device ? `${page.device.execution} execution, ${page.device.level} times` : "no device: no times",
    ];
    byId("subtitle").textContent = parts.join(" · ");
    fill(
        byId("colophon"),
        el(
            "p",
            {},
            `modelmeter ${page.program}, analytic model ${page.analytic_model}, data ${page.schema}. This file loads nothing from anywhere.`,
        ),
    );
}

function startSections() {
    const links = [...document.querySelectorAll("main > section")]
        .filter((section) => !section.hidden)
        .map((section) => el("li", {}, el("a", { href: `#${section.id}` }, section.querySelector("h2").textContent)));
    fill(byId("sections"), links);
}

startHeader();
startTips();
startKindChoice();
startOverview();
startDocuments();
startTree();
startSizes();
startTable();
startNotes();
hideEmptyCharts();
startSections();
document.addEventListener("DOMContentLoaded", () => {
    startCharts();
    document.documentElement.dataset.drawn = "true";
});
