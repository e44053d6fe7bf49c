// Starts a deck once its formulas are set: first each page gets the largest sizes at which nothing is cut.
const LARGE = [[32, 20], [30, 20], [28, 20]];   // for pages of text alone
const SIZES = [[26, 20], [26, 18], [24, 18], [24, 17], [22, 17], [22, 16], [20, 16]];   // px of text and of code

// Whether something is cut, or a picture gets less than `least` of its own size.
function overflows(page, least) {
  const body = page.querySelector(".body"), box = body.getBoundingClientRect();
  const lowest = Math.max(...[...body.children].map(child => child.getBoundingClientRect().bottom));
  const widest = Math.max(...[...body.children].map(child => child.getBoundingClientRect().left + child.scrollWidth));
  const starved = [...page.querySelectorAll("figure")].some(figure => {
    const [w, h] = ["--w", "--h"].map(name => Number(getComputedStyle(figure).getPropertyValue(name)));
    return figure.clientHeight < least * h * Math.min(1, figure.clientWidth / w);
  });
  return lowest > box.bottom + 1 || widest > box.right + 1 || starved;
}

function fit(page) {
  const plain = !page.querySelector("figure, .code");
  for (const [text, code] of plain ? [...LARGE, ...SIZES] : SIZES) {
    page.style.setProperty("--text", `${text}px`);
    page.style.setProperty("--code", `${code}px`);
    if (!overflows(page, text > 22 ? 1 : 0.8)) return;
  }
}

// For printing: all pages below each other, without reveal.js, each with its number.
function handout(pages) {
  pages.forEach((page, i) => page.insertAdjacentHTML("beforeend", `<div class="foot"><span></span><span>${i + 1}</span></div>`));
  document.querySelectorAll(".foot span:first-child").forEach(foot => { foot.textContent = document.title; });
  document.querySelector("link[href$='reveal.css']").remove();
  document.body.className = "handout";
}

function start() {
  const pages = [...document.querySelectorAll(".slides section section")];
  pages.forEach(fit);
  if (location.search === "?handout") return handout(pages);
  document.body.classList.remove("measuring");
  const name = document.createElement("div");
  name.className = "lecture";
  name.textContent = document.title;
  document.querySelector(".reveal").append(name);
  Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, display: "flex", transition: "none", navigationMode: "linear",
    controls: false, progress: true, slideNumber: "c/t", hash: true, plugins: [RevealNotes],
    defaultTiming: 60
  });
}

const faces = ["400", "600", "italic 400", "italic 600"].map(face => document.fonts.load(`${face} 26px "Source Sans Pro"`));
MathJax.Hub.Queue(() => Promise.all(faces).then(start));
