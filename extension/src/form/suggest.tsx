// A text field that offers what is registered: type anything, or choose from the list (ARIA combobox).
import { useEffect, useRef, useState } from "preact/hooks";
import { fitting, moveTo, type Option } from "../core/config_form";

type Props = {
  id: string;
  value: string;
  options: readonly Option[];
  onWrite: (text: string) => void;
  invalid: boolean;
  placeholder: string;
  describedBy: string;
};

export function Suggest({ id, value, options, onWrite, invalid, placeholder, describedBy }: Props) {
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const shown = open ? fitting(options, value) : [];

  useEffect(() => {
    list.current?.children[active]?.scrollIntoView({ block: "nearest" });
  }, [active]);

  const close = () => { setOpen(false); setActive(-1); };
  const choose = (option: Option) => {
    onWrite(option.value);
    // "text:" and "" are beginnings: the person goes on typing.
    if (!option.value || option.value.endsWith(":")) setTimeout(() => input.current?.focus());
    close();
  };
  const key = (event: KeyboardEvent) => {
    if (event.key === "Escape" && open) {
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && shown[active]) {
      event.preventDefault();
      choose(shown[active] as Option);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setActive(moveTo(open ? active : -1, fitting(options, value).length, event.key));
      setOpen(true);
    }
  };

  return (
    <div class="dk-suggest">
      <input
        id={id}
        ref={input}
        class="dk-input"
        role="combobox"
        aria-expanded={shown.length > 0}
        aria-controls={`${id}-list`}
        aria-activedescendant={shown[active] ? `${id}-${active}` : undefined}
        aria-autocomplete="list"
        aria-invalid={invalid}
        aria-describedby={describedBy}
        autocomplete="off"
        spellcheck={false}
        placeholder={placeholder}
        value={value}
        onInput={(event) => { onWrite(event.currentTarget.value); setOpen(true); setActive(-1); }}
        onMouseDown={() => setOpen(!open)}
        onBlur={close}
        onKeyDown={key}
      />
      <span class="dk-suggest-mark" aria-hidden="true">▾</span>
      {shown.length > 0 && (
        <ul class="dk-suggest-list" id={`${id}-list`} role="listbox" ref={list} aria-label="Suggestions">
          {shown.map((option, index) => (
            <li
              key={option.label}
              id={`${id}-${index}`}
              role="option"
              aria-selected={index === active}
              // Before the input's blur, which would close the list.
              onMouseDown={(event) => { event.preventDefault(); choose(option); }}
            >
              <span class="dk-mono">{option.label}</span>
              <span class="dk-muted">{option.about}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
