// The numbers in the parameters and buffers that a module holds itself, counted by the kernel when they are looked at.
import { useEffect } from "preact/hooks";
import { percent, short, significant, whole } from "../core/format";
import type { Side } from "../core/tree_compare";
import { ErrorBox } from "../ui/parts";
import type { Model } from "../ui/widget";
import { type About, useAnswer } from "./answer";

/** The names are those of `ParameterStatistics` in Python. */
type Statistics = {
  name: string; role: string; shape: number[]; dtype: string; device: string; trainable: boolean; reason: string; counted: number;
  mean: number | null; std: number | null; minimum: number | null; maximum: number | null; zero_share: number | null; not_finite: number;
  histogram: number[]; edges: [number, number]; gradient_norm: number | null; gradient_not_finite: number;
};
type Answer = About & { rows?: Statistics[] };

export function Parameters({ model, path, side, live }: { model: Model; path: string; side: Side; live: boolean }) {
  const [answer, ask] = useAnswer<Answer>(model, "parameters", path, side);
  useEffect(() => { if (live && !answer) ask(); }, [path, side]);
  if (!live) return <div class="dk-empty">Parameters are counted in the model, and this tree holds only its trace: ModelTree(model, inputs) counts them, with model = dk.load_model(…) for that of a run.</div>;
  if (!answer) return <div class="dk-empty">Counting…</div>;
  if (!answer.rows) return <ErrorBox problem={answer.problem} />;
  if (!answer.rows.length) return <div class="dk-empty">It holds no parameters and no buffers of its own.</div>;
  const gradients = answer.rows.some((each) => each.gradient_norm !== null);
  return (
    <div class="mt-parameters">
      <table class="dk-table">
        <thead>
          <tr>
            <th>name</th><th>shape</th><th data-number>mean</th><th data-number title="Standard deviation">std</th><th data-number>least</th><th data-number>greatest</th>
            <th data-number>zero</th><th>values</th>{gradients && <th data-number title="Euclidean norm of the gradient it holds">|gradient|</th>}
          </tr>
        </thead>
        <tbody>{answer.rows.map((each) => <Row key={each.name} own={each} gradients={gradients} />)}</tbody>
      </table>
      {answer.rows.filter(sampled).map((each) => (
        <p key={each.name} class="dk-muted mt-note">{each.name}: mean, deviation, zeros and histogram of {whole(each.counted)} of its {whole(size(each))} values.</p>
      ))}
    </div>
  );
}

function Row({ own, gradients }: { own: Statistics; gradients: boolean }) {
  const kind = own.role !== "parameter" ? own.role : own.trainable ? "trained" : "frozen";
  return (
    <tr>
      <td><span class="dk-mono">{own.name}</span> <span class="dk-muted">{kind}</span></td>
      <td>{own.shape.join("×") || "scalar"} <span class="dk-muted">{own.dtype}{own.device === "cpu" ? "" : ` ${own.device}`}</span></td>
      {own.reason && own.mean === null && own.minimum === null
        ? <td colSpan={6} class="dk-muted">no values: {own.reason}<Bad own={own} /></td>
        : (
          <>
            {[own.mean, own.std, own.minimum, own.maximum].map((value, at) => <td key={at} data-number>{figure(value)}</td>)}
            <td data-number>{percent(own.zero_share)}</td>
            <td><Histogram own={own} /><Bad own={own} /></td>
          </>
        )}
      {gradients && <td data-number>{figure(own.gradient_norm)}{own.gradient_not_finite > 0 && <b class="mt-bad"> {whole(own.gradient_not_finite)} not finite</b>}</td>}
    </tr>
  );
}

function Bad({ own }: { own: Statistics }) {
  return own.not_finite ? <b class="mt-bad"> ✗ {whole(own.not_finite)} NaN or infinite</b> : null;
}

const WIDTH = 120, HEIGHT = 22, WIDEST = 16;

function Histogram({ own: { histogram, edges, name } }: { own: Statistics }) {
  if (!histogram.length) return null;
  const most = Math.max(...histogram, 1);
  const bar = Math.min(WIDEST, WIDTH / histogram.length);
  const left = (WIDTH - bar * histogram.length) / 2;
  const at = (bin: number) => edges[0] + ((edges[1] - edges[0]) * bin) / histogram.length;
  const zero = edges[0] < 0 && edges[1] > 0 ? left + (bar * histogram.length * -edges[0]) / (edges[1] - edges[0]) : null;
  return (
    <svg class="mt-values" width={WIDTH} height={HEIGHT} role="img" aria-label={`Values of ${name} from ${figure(edges[0])} to ${figure(edges[1])}`}>
      {zero !== null && <line x1={zero} x2={zero} y1={0} y2={HEIGHT} />}
      {histogram.map((count, bin) => (
        <rect key={bin} x={left + bin * bar} width={Math.max(1, bar - 0.5)} y={HEIGHT - height(count, most)} height={height(count, most)}>
          <title>{`${figure(at(bin))} to ${figure(at(bin + 1))}: ${whole(count)}`}</title>
        </rect>
      ))}
    </svg>
  );
}

const height = (count: number, most: number) => (count ? Math.max(1, (HEIGHT * count) / most) : 0);
const size = (own: Statistics) => own.shape.reduce((all, each) => all * each, 1);
const sampled = (own: Statistics) => own.histogram.length > 0 && own.counted < size(own) - own.not_finite;

/** Three digits; very large and very small ones with an exponent. */
function figure(value: number | null): string {
  if (value === null) return "–";
  if (value !== 0 && !(Math.abs(value) >= 1e-4 && Math.abs(value) < 1e9)) return value.toExponential(2).replace("-", "−");
  return Math.abs(value) >= 1e4 || Number.isInteger(value) ? short(value) : significant(value, 3).replace("-", "−");
}
