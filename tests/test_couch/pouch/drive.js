// Does with PouchDB what the tests say: one JSON line asks, one JSON line answers.

"use strict";

const readline = require("node:readline");
const PouchDB = require("pouchdb");

PouchDB.plugin(require("pouchdb-find"));

const folder = process.argv[2];
const locals = new Map();
const lives = new Map();
const events = { change: 0, error: [] };

function local(name) {
  if (!locals.has(name)) locals.set(name, new PouchDB(`${folder}/${name}`));
  return locals.get(name);
}

function remote({ url, token }) {
  return new PouchDB(url, {
    fetch(address, options) {
      options.headers.set("authorization", `Bearer ${token}`);
      return PouchDB.fetch(address, options);
    },
  });
}

async function everything(db) {
  const found = {};
  const changes = await db.changes({ since: 0, include_docs: true, conflicts: true });
  for (const row of changes.results) found[row.id] = row.doc;
  return found;
}

const verbs = {
  async pull({ name, options, ...where }) {
    const done = await local(name).replicate.from(remote(where), options || {});
    return { read: done.docs_read, written: done.docs_written, ok: done.ok, seq: done.last_seq };
  },
  async push({ name, ...where }) {
    let denied = 0;
    const going = local(name).replicate.to(remote(where));
    going.on("denied", () => (denied += 1));
    await going.catch(() => undefined);
    return { denied };
  },
  async live({ name, ...where }) {
    const options = { live: true, retry: true, back_off_function: () => 50 };
    const going = local(name).replicate.from(remote(where), options);
    going.on("change", () => (events.change += 1));
    going.on("error", (wrong) => events.error.push(String(wrong)));
    going.catch(() => undefined);
    lives.set(name, going);
    return {};
  },
  async stop({ name }) {
    lives.get(name).cancel();
    return {};
  },
  async events() {
    return events;
  },
  async everything({ name }) {
    return everything(local(name));
  },
  async put({ name, doc }) {
    return local(name).put(doc);
  },
  async remote({ call, args, ...where }) {
    return remote(where)[call](...args);
  },
  async subscribe({ filter, ...where }) {
    const options = { since: 0, include_docs: true, ...filter };
    return (await remote(where).changes(options)).results;
  },
};

async function answer(line) {
  const { do: verb, ...question } = JSON.parse(line);
  try {
    return { answer: await verbs[verb](question) };
  } catch (wrong) {
    return { error: { name: wrong.name, status: wrong.status, message: String(wrong) } };
  }
}

let last = Promise.resolve();
readline.createInterface({ input: process.stdin }).on("line", (line) => {
  last = last.then(async () => console.log(JSON.stringify(await answer(line))));
}).on("close", () => process.exit(0));
