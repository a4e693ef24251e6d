// Names beside the circles, equally large on the screen at any zoom: the strongest first, none over another, none cut.
// Whose name finds no room shows it when one zooms in.
"use strict";
const LABEL_PIXELS = 12, MORE_PIXELS = 4; // of the weakest, and what strength adds
const MOST_NAMES = 80; // at once, whoever else would find room
const MOST_CIRCLES = 150; // up to so many people a name also keeps off the circles
const labelWidths = new Map();

function labelWidth(context, text, pixels) {
  const key = `${pixels} ${text}`;
  if (!labelWidths.has(key)) labelWidths.set(key, context.measureText(text).width);
  return labelWidths.get(key);
}
const apart = (a, b) => a.left >= b.right || b.left >= a.right || a.top >= b.bottom || b.top >= a.bottom;

// Where a name may stand: below its circle, above, right, left. All in pixels of the screen.
function labelPlaces(circle, width, height) {
  const box = (left, top) => ({ left, top, right: left + width, bottom: top + height });
  const { x, y, radius } = circle;
  return [box(x - width / 2, y + radius + 1), box(x - width / 2, y - radius - 1 - height), box(x + radius + 3, y - height / 2),
    box(x - radius - 3 - width, y - height / 2)];
}

// everybody: {id, label, size, share} (share of the greatest strength), the strongest first. Returns how many names are drawn.
function drawLabels(context, network, everybody, style) {
  const scale = network.getScale(), at = network.getPositions();
  const people = everybody.filter(person => at[person.id]); // vis draws once between two pictures
  const corner = network.canvasToDOM({ x: 0, y: 0 }), room = network.body.container;
  const inside = box => box.left >= 2 && box.top >= 2 && box.right <= room.clientWidth - 2 && box.bottom <= room.clientHeight - 2;
  const circles = people.map(({ id, size }) => ({ x: at[id].x * scale + corner.x, y: at[id].y * scale + corner.y, radius: size * scale }));
  const covers = people.length > MOST_CIRCLES ? [] : circles.map(({ x, y, radius }) =>
    ({ left: x - .7 * radius, right: x + .7 * radius, top: y - .7 * radius, bottom: y + .7 * radius }));
  const taken = [];
  context.save();
  context.translate(-corner.x / scale, -corner.y / scale);
  context.scale(1 / scale, 1 / scale);
  Object.assign(context, { textAlign: "left", textBaseline: "top", lineJoin: "round", lineWidth: 3, strokeStyle: style.ground, fillStyle: style.text });
  people.forEach((person, index) => {
    if (taken.length >= MOST_NAMES) return;
    const pixels = Math.round(LABEL_PIXELS + MORE_PIXELS * Math.sqrt(person.share));
    context.font = `${pixels}px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif`;
    const places = labelPlaces(circles[index], labelWidth(context, person.label, pixels), pixels * 1.15)
      .filter(box => inside(box) && taken.every(other => apart(box, other)));
    const place = places.find(box => covers.every((other, of) => of === index || apart(box, other)));
    if (!place) return;
    taken.push(place);
    context.strokeText(person.label, place.left, place.top);
    context.fillText(person.label, place.left, place.top);
  });
  context.restore();
  return taken.length;
}
