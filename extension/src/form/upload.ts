// Sends a file to the kernel in pieces, never more than a few ahead of what the kernel says it has.
import { freshId, nextPiece } from "../core/config_form";

type Ask = (name: string, rest?: Record<string, unknown>, buffers?: ArrayBuffer[]) => void;

export class Upload {
  readonly id = freshId();
  private sent = 0;
  private received = 0;
  private sending = false;
  private stopped = false;

  constructor(private readonly file: File, private readonly ask: Ask) {
    ask("upload", { upload: this.id, name: file.name, size: file.size });
  }

  /** Go on: called whenever the kernel has said how much it received. */
  async advance(received: number): Promise<void> {
    this.received = received;
    if (this.sending) return;
    this.sending = true;
    for (;;) {
      const piece = nextPiece(this.sent, this.received, this.file.size);
      if (!piece || this.stopped) break;
      const bytes = await this.file.slice(...piece).arrayBuffer();
      if (this.stopped) break;
      this.ask("piece", { upload: this.id, offset: piece[0] }, [bytes]);
      this.sent = piece[1];
    }
    this.sending = false;
  }

  stop(): void {
    this.stopped = true;
  }
}
