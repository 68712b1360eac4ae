// The head of the Studio: its pages, and the run that all of them are about.
import "./studio_bar.css";
import { StateChip, Tabs } from "../ui/parts";
import { type Model, useSharedTrait, useTrait, widget } from "../ui/widget";

type Current = { name: string; state: string; reason: string | null };

function Mark() {
  return (
    <svg class="studio-mark" viewBox="0 0 28 20" width="28" height="20" aria-hidden="true">
      <path d="M1 15h6l2-3 2 3h2l3-13 3 16 2-5 1 2h5" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" stroke-linecap="round" />
    </svg>
  );
}

function StudioBar({ model }: { model: Model }) {
  const pages = useTrait<string[]>(model, "pages");
  const [page, setPage] = useSharedTrait<string>(model, "page");
  const current = useTrait<Current | null>(model, "current");
  return (
    <div class="studio-bar">
      <span class="studio-brand"><Mark />DarKit</span>
      <Tabs names={pages} selected={page} onSelect={setPage} label="Pages of the Studio" />
      <span class="studio-current" title={current?.reason ?? current?.name}>
        {current && <><span class="studio-run">{current.name}</span><StateChip state={current.state} title={current.reason ?? undefined} /></>}
      </span>
    </div>
  );
}

export default widget(StudioBar);
