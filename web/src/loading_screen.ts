import './theme.css';
import './loading_screen.css';
import {type View, explanation, sentence} from './workspace_state.ts';

/** The calm page that stands where an app will be. */
export class LoadingScreen {
  readonly #root: HTMLElement;
  readonly #title: HTMLElement;
  readonly #text: HTMLElement;
  #delay: ReturnType<typeof setTimeout> | undefined;

  constructor(root: HTMLElement, name: string) {
    this.#root = root;
    this.#root.className = 'screen';
    this.#root.hidden = true;
    const card = element('div', 'screen-card');
    const status = element('div', 'screen-status');
    status.setAttribute('role', 'status');
    this.#title = element('p', 'screen-title');
    this.#text = element('p', 'screen-text');
    status.append(this.#title, this.#text);
    const mark = element('div', 'screen-mark');
    mark.setAttribute('aria-hidden', 'true');
    mark.append(element('span'), element('span'), element('span'));
    const label = element('p', 'screen-name');
    label.textContent = name;
    card.append(mark, status, label);
    this.#root.append(card);
  }

  get shown(): boolean {
    return !this.#root.hidden;
  }

  /** Shows the screen after `delay` ms; one that is shown already only changes its words. */
  show(view: View, delay = 0): void {
    clearTimeout(this.#delay);
    const render = () => {
      this.#root.dataset['phase'] = view.phase;
      set(this.#title, view.phase === 'ready' ? 'Opening the app' : sentence(view));
      set(this.#text, view.phase === 'ready' ? '' : explanation(view));
      this.#root.hidden = false;
    };
    if (delay === 0 || this.shown) render();
    else this.#delay = setTimeout(render, delay);
  }

  hide(): void {
    clearTimeout(this.#delay);
    this.#root.hidden = true;
  }
}

/** Text that does not change is not written again: a screen reader would say it twice. */
function set(node: HTMLElement, text: string): void {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = text === '';
}

function element(tag: string, className = ''): HTMLElement {
  const node = document.createElement(tag);
  if (className) node.className = className;
  return node;
}
