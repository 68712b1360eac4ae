// The server's files, through JupyterLab's contents.
import { type Contents, ServerConnection, type ServiceManager } from "@jupyterlab/services";
import type { Entry, Files } from "../core/run_reader";

/** A server that cannot send a part of a file sends the whole; more than this is not worth it. */
const WHOLE_BYTES = 1_000_000;

export class JupyterFiles implements Files {
  constructor(private readonly contents: Contents.IManager) {}

  async list(path: string): Promise<Entry[]> {
    const model = await this.contents.get(path, { type: "directory", content: true });
    return (model.content as Contents.IModel[]).map((entry) => ({
      name: entry.name,
      folder: entry.type === "directory",
      size: entry.size ?? null,
      modified: entry.last_modified,
    }));
  }

  async text(path: string): Promise<string> {
    const model = await this.contents.get(path, { type: "file", format: "text", content: true });
    return model.content as string;
  }

  async tail(path: string, bytes: number): Promise<string> {
    const url = await this.contents.getDownloadUrl(path);
    const headers = { Range: `bytes=-${bytes}` };
    const answer = await ServerConnection.makeRequest(url, { headers }, this.contents.serverSettings);
    const small = Number(answer.headers.get("Content-Length") ?? Number.POSITIVE_INFINITY) <= WHOLE_BYTES;
    if (answer.status === 206 || (answer.ok && small)) return answer.text();
    await answer.body?.cancel();
    return "";
  }
}

/** Unix time on the server's clock, by which heartbeats are judged; asked for now and then, kept by our own in between. */
export class ServerClock {
  private ahead = 0;
  private asked = Number.NEGATIVE_INFINITY;

  constructor(private readonly services: ServiceManager.IManager) {}

  async now(): Promise<number> {
    const here = Date.now() / 1000;
    if (here - this.asked > 300) {
      const settings = this.services.serverSettings;
      const answer = await ServerConnection.makeRequest(`${settings.baseUrl}api`, {}, settings);
      const there = Date.parse(answer.headers.get("Date") ?? "") / 1000;
      this.ahead = Number.isNaN(there) ? 0 : there - here;
      this.asked = here;
    }
    return here + this.ahead;
  }
}
