"use strict";
const at = (id) => document.getElementById(id);
let tasks = {};

const headers = () => {
  const h = { "Content-Type": "application/json" };
  if (at("key").value) h.Authorization = "Bearer " + at("key").value;
  return h;
};

const say = (text, wrong) => {
  at("status").textContent = text;
  at("status").className = wrong ? "error" : "";
};

const row = (cells, share) => {
  const tr = at("answer").insertRow();
  for (const c of cells) {
    const td = tr.insertCell();
    td.textContent = typeof c === "number" ? c.toFixed(4) : c;
    if (typeof c === "number") td.className = "number";
  }
  if (share !== undefined) {
    const bar = document.createElement("span");
    bar.className = "bar";
    bar.style.width = 100 * Math.max(0, Math.min(1, share)) + "%";
    tr.insertCell().append(bar);
  }
};

const choose = () => {
  const task = tasks[at("model").value] || "";
  at("what").textContent = task === "reranker" ? "Query" : "Text";
  at("second").hidden = ["embedding", "token classifier", "masked language model"].includes(task);
};

const list = async () => {
  const r = await fetch("v1/models", { headers: headers() });
  if (!r.ok) return say(r.status === 401 ? "The server asks for a key." : await r.text(), true);
  const { data } = await r.json();
  at("model").replaceChildren(...data.map((m) => new Option(m.id)));
  tasks = Object.fromEntries(data.map((m) => [m.id, m.task]));
  choose();
  say("");
};

const requests = {
  embedding: (text) => ["embed", { inputs: text }],
  "masked language model": (text) => ["fill_mask", { inputs: text }],
  reranker: (text, pair) => (pair ? ["rerank", { query: text, texts: pair.split("\n").filter(Boolean), return_text: true }] : ["predict", { inputs: text }]),
};

const show = (path, answer) => {
  if (path === "embed") {
    row(["length", String(answer[0].length)]);
    row(["values", answer[0].slice(0, 32).map((v) => v.toFixed(4)).join("  ") + (answer[0].length > 32 ? "  …" : "")]);
    return;
  }
  for (const a of answer.flat()) row([a.token_str || a.text || a.word || a.label, ...(a.entity ? [a.entity] : []), a.score], a.score);
};

at("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  at("answer").replaceChildren();
  const name = at("model").value, text = at("text").value, pair = at("second").hidden ? "" : at("pair").value;
  const make = requests[tasks[name]] || ((t, p) => ["predict", { inputs: p ? [t, p] : t }]);
  const [path, body] = make(text, pair);
  try {
    const began = performance.now();
    const r = await fetch("models/" + encodeURIComponent(name) + "/" + path, { method: "POST", headers: headers(), body: JSON.stringify(body) });
    const took = performance.now() - began;
    if (!r.ok) {
      const problem = await r.text();
      let shown = problem;
      try { shown = JSON.parse(problem).error; } catch { /* it is text */ }
      return say(shown || "status " + r.status, true);
    }
    show(path, await r.json());
    say(`${took.toFixed(1)} ms, of which the server ${r.headers.get("x-total-time")} ms; ${r.headers.get("x-compute-tokens")} tokens`);
  } catch (err) {
    say(String(err), true);
  }
});
at("model").addEventListener("change", choose);
at("key").addEventListener("change", list);
list();
