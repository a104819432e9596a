"use strict";

const chosen = {};
const filtered = [...document.querySelectorAll("[data-outcome]")];

function applyFilters() {
  for (const item of filtered) {
    item.hidden = Object.entries(chosen).some(([name, value]) => value && item.dataset[name] !== value);
  }
  for (const [id, selector] of [["video-count", ".card"], ["row-count", "tbody tr"]]) {
    const label = document.getElementById(id);
    if (label) label.textContent = document.querySelectorAll(`#episodes ${selector}:not([hidden])`).length;
  }
}

for (const button of document.querySelectorAll("button[data-filter]")) {
  button.addEventListener("click", () => {
    chosen[button.dataset.filter] = button.dataset.value;
    for (const other of document.querySelectorAll(`button[data-filter="${button.dataset.filter}"]`)) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    applyFilters();
  });
}

for (const video of document.querySelectorAll(".card video")) {
  for (const event of ["mouseenter", "focus"]) {
    video.addEventListener(event, () => {
      video.controls = true;
      video.play().catch(() => {});
    });
  }
  for (const event of ["mouseleave", "blur"]) {
    video.addEventListener(event, () => {
      video.controls = false;
      video.pause();
    });
  }
}

function sortBy(heading) {
  const column = heading.cellIndex;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
  const body = heading.closest("table").tBodies[0];
  const order = new Intl.Collator("en", { numeric: true }).compare;
  const numeric = (a, b) => (Number.isNaN(Number(a)) || Number.isNaN(Number(b)) ? order(a, b) : a - b);
  const rows = [...body.rows].sort((a, b) => numeric(key(a), key(b)) * (descending ? -1 : 1));
  body.append(...rows);
  for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const heading of document.querySelectorAll(".episodes th")) {
  heading.addEventListener("click", () => sortBy(heading));
  heading.addEventListener("keydown", (event) => event.key === "Enter" && sortBy(heading));
}

document.getElementById("copy").addEventListener("click", async (event) => {
  const command = document.getElementById("command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    event.target.textContent = "Copied";
  } catch {
    // Pages opened from a file may not write to the clipboard: select the text instead.
    getSelection().selectAllChildren(command);
  }
});
