import type {ISearchOptions} from '@xterm/addon-search';
import type {IDisposable} from '@xterm/xterm';

import type {TerminalTab} from './terminal_tab.ts';

/** The bar that searches the terminal that is shown. */
export class TerminalSearch {
  readonly #bar: HTMLElement;
  readonly #input: HTMLInputElement;
  readonly #exact: HTMLInputElement;
  readonly #count: HTMLElement;
  readonly #toggle: HTMLButtonElement;
  readonly #dark = matchMedia('(prefers-color-scheme: dark)');
  #tab: TerminalTab | null = null;
  #results: IDisposable | null = null;

  /** `bar` is a form with an input, a box for exact case, a place for the count, and buttons; `toggle` opens and closes it. */
  constructor(bar: HTMLFormElement, toggle: HTMLButtonElement) {
    const part = <E extends HTMLElement>(name: string) => bar.querySelector<E>(`[data-part=${name}]`)!;
    this.#bar = bar;
    this.#input = part('text');
    this.#exact = part('exact');
    this.#count = part('count');
    this.#toggle = toggle;
    toggle.addEventListener('click', () => (bar.hidden ? this.open() : this.close()));
    part('close').addEventListener('click', () => this.close());
    part('newer').addEventListener('click', () => this.#find('newer'));
    this.#input.addEventListener('input', () => this.#find('here'));
    this.#exact.addEventListener('change', () => {
      this.#tab?.search.clearDecorations();  // or the add-on takes it for the same search, and keeps its count
      this.#find('here');
    });
    bar.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#find('older');
    });
    bar.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.close();
      else if (event.key === 'Enter' && event.shiftKey && event.target === this.#input) this.#find('newer');
      else return;
      event.preventDefault();
    });
  }

  /** Searches in another terminal from now on. */
  target(tab: TerminalTab | null): void {
    this.#results?.dispose();
    this.#tab?.search.clearDecorations();
    this.#tab = tab;
    this.#results = tab?.search.onDidChangeResults(({resultIndex, resultCount}) => {
      if (this.#input.value === '') return;
      this.#count.textContent = resultCount === 0 ? 'No results'
        : resultIndex < 0 ? `${resultCount} results` : `${resultIndex + 1} of ${resultCount}`;
    }) ?? null;
    if (!tab) this.close();
    else if (!this.#bar.hidden) this.#find('here');
  }

  /** Shows the bar, with what is selected in the terminal. */
  open(): void {
    if (!this.#tab) return;
    this.#bar.hidden = false;
    this.#toggle.setAttribute('aria-expanded', 'true');
    const selected = this.#tab.screen.getSelection();
    if (selected !== '' && !selected.includes('\n')) this.#input.value = selected;
    this.#input.focus();
    this.#input.select();
    this.#find('here');
  }

  /** Hides the bar, and goes back to the terminal. */
  close(): void {
    if (this.#bar.hidden) return;
    this.#bar.hidden = true;
    this.#toggle.setAttribute('aria-expanded', 'false');
    this.#tab?.search.clearDecorations();
    this.#tab?.focus();
  }

  #find(where: 'here' | 'older' | 'newer'): void {
    const text = this.#input.value;
    const search = this.#tab?.search;
    if (!search) return;
    if (text === '') {
      search.clearDecorations();
      this.#tab?.screen.clearSelection();
      this.#count.textContent = '';
      return;
    }
    const options: ISearchOptions = {
      caseSensitive: this.#exact.checked,
      incremental: where === 'here',
      decorations: this.#dark.matches
        ? {matchBackground: '#5c4a12', activeMatchBackground: '#a05e00', matchOverviewRuler: '#ffd43b', activeMatchColorOverviewRuler: '#ff922b'}
        : {matchBackground: '#ffec99', activeMatchBackground: '#ffc078', matchOverviewRuler: '#f08c00', activeMatchColorOverviewRuler: '#d9480f'},
    };
    // The newest first: what people look for has just been printed.
    if (where === 'newer') search.findNext(text, options);
    else search.findPrevious(text, options);
  }
}
