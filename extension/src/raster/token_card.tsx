// What one token sent: its counts as bars in the colours of the raster, the mean of all tokens as a line behind them.
import { percent } from "../core/format";
import { cssColour, type Ramps } from "../core/spike_colour";
import type { SpikePicture } from "../core/spike_picture";
import { Button } from "../ui/parts";

const WIDTH = 420, HEIGHT = 84;

export function TokenCard({ picture, token, label, ramps, onClose }: {
  picture: SpikePicture; token: number; label: string; ramps: Ramps; onClose: () => void;
}) {
  const { rate, spikes, silent } = picture.summary(token);
  const own = picture.histogram(token), all = picture.histogram(null);
  const most = Math.max(...own.shares, ...all.shares);
  const bar = WIDTH / own.shares.length;
  const level = (bin: number) => own.first + bin * own.width + (own.width - 1) / 2;
  const height = (share: number) => (share / most) * HEIGHT;
  const outline = all.shares.map((share, bin) => `${bin ? "L" : "M"}${bin * bar} ${HEIGHT - height(share)}h${bar}`).join("");
  const last = own.first + own.shares.length * own.width - 1;
  return (
    <section class="sr-token" aria-label={`Token ${token + 1}`}>
      <div class="sr-token-facts">
        <div class="dk-row">
          <strong>Token {token + 1} <span class="dk-mono sr-chip">{label}</span></strong>
          <Button kind="quiet" aria-label="Unpin this token" onClick={onClose}>✕</Button>
        </div>
        <div>{percent(rate)} of its slots fire</div>
        <div>{spikes.toLocaleString("en")} unit spikes</div>
        <div>{silent} of {picture.facts.features} features silent</div>
      </div>
      <figure class="sr-histogram">
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 16}`} role="img" aria-label={`Histogram of the counts of token ${token + 1}`}>
          {own.shares.map((share, bin) => (
            <rect key={bin} x={bin * bar + 0.5} y={HEIGHT - height(share)} width={Math.max(0.5, bar - 1)} height={height(share)} fill={level(bin) === 0 ? "var(--dk-line-strong)" : cssColour(ramps, Math.round(level(bin)), picture.facts.cap)}>
              <title>{`${binName(own, bin)}: ${Math.round(share * picture.facts.features)} features`}</title>
            </rect>
          ))}
          <path d={outline} class="sr-mean" />
          <line x1="0" x2={WIDTH} y1={HEIGHT} y2={HEIGHT} class="sr-base" />
          <text x="0" y={HEIGHT + 13}>{own.first === 0 ? "silent" : own.first}</text>
          {own.first < 0 && <text x={WIDTH / 2} y={HEIGHT + 13} text-anchor="middle">silent</text>}
          <text x={WIDTH} y={HEIGHT + 13} text-anchor="end">{last} spikes</text>
        </svg>
        <figcaption class="dk-muted">Features by how many spikes they sent for this token; the line is the mean of all tokens.</figcaption>
      </figure>
    </section>
  );
}

function binName({ first, width }: { first: number; width: number }, bin: number): string {
  const from = first + bin * width;
  if (width > 1) return `${from} to ${from + width - 1} spikes`;
  return from === 0 ? "silent" : `${from} ${Math.abs(from) === 1 ? "spike" : "spikes"}`;
}
