"use strict";
// Shows /api/openapi.json. Text goes into the page as text only, never as markup.

const byId = (id) => document.getElementById(id);

function make(name, text, attributes = {}) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function resolved(schema, components, depth = 0) {
  if (!schema || typeof schema !== "object") return schema;
  if (Array.isArray(schema)) return schema.map((each) => resolved(each, components, depth));
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return depth > 3 ? { type: name } : resolved(components[name], components, depth + 1);
  }
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, resolved(value, components, depth)]),
  );
}

function sample(schema) {
  if (!schema) return null;
  if ("default" in schema) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.anyOf) return sample(schema.anyOf[0]);
  if (schema.type === "object") {
    const required = new Set(schema.required || []);
    return Object.fromEntries(
      Object.entries(schema.properties || {})
        .filter(([name]) => required.has(name))
        .map(([name, inner]) => [name, sample(inner)]),
    );
  }
  return { string: "", integer: 0, number: 0, boolean: false, array: [] }[schema.type] ?? null;
}

function table(parameters) {
  const element = make("table");
  const head = make("tr");
  for (const text of ["Parameter", "In", "Meaning", "Value"]) head.append(make("th", text));
  element.append(head);
  for (const each of parameters) {
    const row = make("tr");
    const name = make("td");
    name.append(make("code", each.name + (each.required ? " *" : "")));
    const value = make("td");
    const label = `${each.name} (${each.in})`;
    value.append(make("input", undefined, { "data-name": each.name, "data-in": each.in, "aria-label": label }));
    row.append(name, make("td", each.in), make("td", each.description || each.schema.type || ""), value);
    element.append(row);
  }
  return element;
}

async function send(method, path, box, output) {
  const headers = {};
  const token = byId("token").value.trim();
  if (token) headers.authorization = `Bearer ${token}`;
  const query = new URLSearchParams();
  for (const input of box.querySelectorAll("input")) {
    const value = input.value;
    if (!value) continue;
    const name = input.dataset.name;
    if (input.dataset.in === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (input.dataset.in === "query") query.set(name, value);
    else headers[name] = value;
  }
  const body = box.querySelector("textarea");
  if (body) headers["content-type"] = "application/json";
  const url = query.size ? `${path}?${query}` : path;
  try {
    const answer = await fetch(url, { method, headers, body: body ? body.value : undefined });
    const text = await answer.text();
    let shown = text;
    try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON */ }
    output.textContent = `${answer.status} ${answer.statusText}\n\n${shown}`;
  } catch (wrong) {
    output.textContent = String(wrong);
  }
}

function operation(method, path, what, components) {
  const element = make("details", undefined, { "data-text": `${method} ${path} ${what.summary}`.toLowerCase() });
  const summary = make("summary");
  summary.append(make("span", method, { class: "method" }), make("code", path), ` ${what.summary}`);
  element.append(summary);
  if (what.description) element.append(make("p", what.description));
  const box = make("div");
  if (what.parameters) box.append(table(what.parameters));
  const body = what.requestBody?.content["application/json"].schema;
  if (body) {
    const whole = resolved(body, components);
    const edit = make("textarea", undefined, { "aria-label": "Body" });
    edit.value = JSON.stringify(sample(whole), null, 2);
    box.append(make("h4", "Body"), make("pre", JSON.stringify(whole, null, 2)), edit);
  }
  element.append(box);
  const answers = make("table");
  for (const [status, answer] of Object.entries(what.responses)) {
    const row = make("tr");
    row.append(make("td", status), make("td", answer.description));
    answers.append(row);
  }
  element.append(make("h4", "Answers"), answers);
  const good = Object.values(what.responses)[0].content?.["application/json"];
  if (good) element.append(make("pre", JSON.stringify(resolved(good.schema, components), null, 2)));
  const button = make("button", "Send", { type: "button" });
  const output = make("pre", "", { "aria-live": "polite" });
  button.addEventListener("click", () => send(method, path, box, output));
  element.append(button, output);
  return element;
}

async function show() {
  const answer = await fetch("/api/openapi.json");
  const api = await answer.json();
  const components = api.components.schemas;
  byId("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  const main = byId("operations");
  main.replaceChildren();
  for (const tag of api.tags) {
    const section = make("section", undefined, { id: tag.name });
    section.append(make("h2", tag.name), make("p", tag.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, what] of Object.entries(methods)) {
        if (what.tags[0] === tag.name) {
          section.append(operation(method.toUpperCase(), path, what, components));
        }
      }
    }
    main.append(section);
    byId("tags").append(make("a", tag.name, { href: `#${tag.name}` }));
  }
  byId("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const each of main.querySelectorAll("details")) {
      each.hidden = !each.dataset.text.includes(wanted);
    }
  });
}

show().catch((wrong) => {
  byId("operations").textContent = `The document cannot be shown: ${wrong}`;
});
