// Starts a deck once its formulas are set: first each page gets the largest sizes at which nothing is cut.
const LARGE = [[32, 20], [30, 20], [28, 20]];   // for pages of text alone
const SIZES = [[26, 20], [26, 18], [24, 18], [24, 17], [22, 17], [22, 16], [20, 16]];   // px of text and of code

function overflows(page) {
  const body = page.querySelector(".body"), box = body.getBoundingClientRect();
  const lowest = Math.max(...[...body.children].map(child => child.getBoundingClientRect().bottom));
  const widest = Math.max(...[...body.children].map(child => child.getBoundingClientRect().left + child.scrollWidth));
  const starved = [...page.querySelectorAll("figure")].some(figure => {
    const least = 0.82 * getComputedStyle(figure).getPropertyValue("--h");
    return figure.clientHeight < Math.min(least, 0.5 * body.clientHeight);
  });
  return lowest > box.bottom + 1 || widest > box.right + 1 || starved;
}

function fit(page) {
  const plain = !page.querySelector("figure, .code, .print");
  for (const [text, code] of plain ? [...LARGE, ...SIZES] : SIZES) {
    page.style.setProperty("--text", `${text}px`);
    page.style.setProperty("--code", `${code}px`);
    if (!overflows(page)) return;
  }
}

function start() {
  const pages = [...document.querySelectorAll(".slides section section")];
  pages.forEach(fit);
  document.body.classList.remove("measuring");
  const name = document.createElement("div");
  name.className = "lecture";
  name.textContent = document.title;
  document.querySelector(".reveal").append(name);
  Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, display: "flex", transition: "none", navigationMode: "linear",
    controls: false, progress: true, slideNumber: "c/t", hash: true, plugins: [RevealNotes],
    defaultTiming: 60, pdfMaxPagesPerSlide: 1, pdfSeparateFragments: false
  });
}

const faces = ["400", "600", "italic 400", "italic 600"].map(face => document.fonts.load(`${face} 26px "Source Sans Pro"`));
MathJax.Hub.Queue(() => Promise.all(faces).then(start));
