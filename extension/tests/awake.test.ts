import assert from "node:assert/strict";
import { test } from "node:test";
import { awaken } from "../src/ui/awake";

type Heard = { content: { data: { method: string } }; buffers: DataView[] };
const update: Heard = { content: { data: { method: "update" } }, buffers: [] };

/** Models as ipywidgets and, on top, anywidget make them; the comm calls what it was given last. */
function page(ready: Promise<void>) {
  ready.catch(() => undefined); // nobody may be waiting for it
  const heard: string[] = [];
  const sent: unknown[] = [];
  class WidgetModel {
    _handle_comm_msg(message: Heard) {
      heard.push(message.content.data.method);
      return Promise.resolve();
    }
    callbacks() { return {}; }
    comm = {
      told: (message: Heard): unknown => this._handle_comm_msg(message),
      on_msg(hears: (message: Heard) => unknown) { this.told = hears; },
      send: (content: unknown) => sent.push(content),
    };
  }
  class AnyModel extends WidgetModel {
    override async _handle_comm_msg(message: Heard) {
      await ready;
      return super._handle_comm_msg(message);
    }
  }
  const model = new AnyModel();
  const manager = { get_model: () => Promise.resolve(model), has_model: (id: string) => id === "own" };
  return { manager, model, heard, sent };
}

test("a widget that was given up hears again, and asks for what it missed", async () => {
  const { manager, model, heard, sent } = page(Promise.reject(new Error("given up")));
  assert.equal(await awaken(manager, "own"), true);
  await model.comm.told(update);
  assert.deepEqual(heard, ["update"]);
  assert.deepEqual(sent, [{ method: "request_state" }]);
});

test("one that was not given up is left alone", async () => {
  const { manager, model, sent } = page(Promise.resolve());
  const before = model.comm.told;
  assert.equal(await awaken(manager, "own"), false);
  assert.equal(model.comm.told, before);
  assert.deepEqual(sent, []);
});

test("where a widget is not known by its name nothing is done", async () => {
  const { manager, sent } = page(Promise.reject(new Error("given up")));
  assert.equal(await awaken(manager, "other"), false);
  assert.deepEqual(sent, []);
});
