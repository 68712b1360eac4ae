// Files that are dropped on the form or chosen: YAML fills it, an archive is uploaded and becomes a run.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { kindOfFile } from "../core/config_form";
import { type Model, useTrait } from "../ui/widget";
import type { Importing } from "./import_strip";
import { Upload } from "./upload";

type Ask = (name: string, rest?: Record<string, unknown>, buffers?: ArrayBuffer[]) => void;

export function useFiles(model: Model, ask: Ask) {
  const importing = useTrait<Importing | null>(model, "importing");
  const [refused, setRefused] = useState("");
  const upload = useRef<Upload | null>(null);

  useEffect(() => {
    if (importing?.upload !== upload.current?.id) return;
    if (importing?.stage === "upload") void upload.current?.advance(importing.received ?? 0);
    else upload.current?.stop();
  }, [importing]);

  const take = useCallback(async (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (!file) return;
    const kind = kindOfFile(file.name);
    setRefused(kind ? "" : `${file.name} is neither YAML (.yaml) nor an archive of a model or a run (.zip, .tar, .tar.gz).`);
    if (kind === "yaml") ask("yaml", { text: await file.text(), name: file.name });
    if (kind !== "archive") return;
    upload.current?.stop();
    upload.current = new Upload(file, ask);
  }, [ask]);

  const cancel = useCallback(() => {
    upload.current?.stop();
    upload.current = null;
    ask("cancel_upload");
  }, [ask]);

  return { importing, refused, forget: () => setRefused(""), take, cancel };
}

/** Marks an element while a file is held over it, and takes the file that is dropped. */
export function useDrop(take: (files: FileList | null | undefined) => void) {
  const [over, setOver] = useState(false);
  const holdsFile = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
  return {
    over,
    handlers: {
      onDragOver: (event: DragEvent) => {
        if (!holdsFile(event)) return;
        event.preventDefault();
        event.stopPropagation();
        setOver(true);
      },
      onDragLeave: (event: DragEvent) => {
        if (!(event.currentTarget as Element).contains(event.relatedTarget as Node | null)) setOver(false);
      },
      onDrop: (event: DragEvent) => {
        if (!holdsFile(event)) return;
        event.preventDefault();
        event.stopPropagation();
        setOver(false);
        take(event.dataTransfer?.files);
      },
    },
  };
}
