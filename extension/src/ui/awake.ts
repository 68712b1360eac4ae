// anywidget 0.11 gives a widget up whose script was not there after two seconds: the page shows it, and nothing the
// kernel says reaches it any more. On a slow machine that is every widget. Here a widget finds out, and listens again.

type Message = { content: { data: { method: string } }; buffers: DataView[] };
type Hearing = (this: Deaf, message: Message) => Promise<unknown>;
type Deaf = {
  _handle_comm_msg: Hearing;
  comm?: { on_msg(heard: (message: Message) => unknown): void; send(content: unknown, callbacks: unknown): unknown };
  callbacks(): unknown;
};
type Manager = { get_model(id: string): Promise<unknown>; has_model?(id: string): boolean };

const NOTHING: Message = { content: { data: { method: "nothing" } }, buffers: [] };

/** Makes sure that a widget hears its kernel; what it missed it is sent again. Returns whether it had been given up. */
export async function awaken(manager: Manager, id: string): Promise<boolean> {
  if (!manager.has_model?.(id)) return false; // a manager of another kind, which has limits of its own
  const own = (await manager.get_model(id)) as Deaf;
  try {
    await own._handle_comm_msg(NOTHING);
    return false;
  } catch {
    const hear = hearing(own);
    own.comm?.on_msg((message) => hear.call(own, message));
    own.comm?.send({ method: "request_state" }, own.callbacks());
    return true;
  }
}

/** How ipywidgets' own models hear, which is what anywidget's do behind their wait. */
function hearing(own: Deaf): Hearing {
  const name = "_handle_comm_msg";
  let kind = own as object;
  while (!Object.hasOwn(kind, name)) kind = Object.getPrototypeOf(kind) as object;
  return (Object.getPrototypeOf(kind) as Deaf)[name];
}
