// Inside the frame, after page.js: the ground of the app around it, a height to tell, and pairs that are clicked.
document.documentElement.classList.add("embedded");
if (isDark() !== (DATA.theme === "dark")) setTheme(DATA.theme === "dark");
window.addEventListener("message", event => {
  if (event.source === parent && event.data?.theme && isDark() !== (event.data.theme === "dark")) setTheme(event.data.theme === "dark");
});
const pickInside = pickPair;
pickPair = (first, second) => {
  pickInside(first, second);
  if (first !== second && DATA.people[first] && DATA.people[second]) {
    parent.postMessage({ pair: [DATA.people[first].label, DATA.people[second].label] }, "*");
  }
};
const tellHeight = () => parent.postMessage({ height: document.body.offsetHeight }, "*");
new ResizeObserver(tellHeight).observe(document.body);
network.redraw();
network.fit();
