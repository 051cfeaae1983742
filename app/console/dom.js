// Builds the page's elements. Text is added only as text nodes, so labels and messages cannot contain markup.

const SVG = "http://www.w3.org/2000/svg";

function apply(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "value" || name === "checked" || name === "indeterminate") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
}

export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

// h("p", {class: "muted"}, "text", otherElement)
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  apply(element, properties);
  return add(element, ...children);
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  apply(element, attributes);
  return add(element, ...children);
}

export function replace(element, ...children) {
  element.replaceChildren();
  return add(element, ...children);
}

let serial = 0;
export const unique = (prefix) => `${prefix}-${++serial}`;

// Announces a message to screen readers, without an interruption.
export function announce(message) {
  let region = document.getElementById("announcements");
  if (!region) {
    region = h("div", { id: "announcements", class: "hidden-visually", "aria-live": "polite" });
    document.body.append(region);
  }
  region.textContent = message;
}

export function debounce(action, milliseconds = 250) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}
