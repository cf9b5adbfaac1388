import {FitAddon} from '@xterm/addon-fit';
import {SearchAddon} from '@xterm/addon-search';
import {WebLinksAddon} from '@xterm/addon-web-links';
import {Terminal as Screen} from '@xterm/xterm';

import type {Workspace} from './protocol.ts';
import {palette} from './terminal_palette.ts';
import {TerminalSession, type SessionState} from './terminal_session.ts';
import {shownTitle} from './terminal_title.ts';
import type {WorkspaceWatch} from './workspace_watch.ts';

/** Cells of a screen. */
export interface Size {
  cols: number;
  rows: number;
}

/** What a tab needs of the page around it. */
export interface TabParts {
  watch: WorkspaceWatch;
  workspace: Workspace;
  /** Opens what a link in the output leads to. */
  follow(uri: string): void;
  /** Something that the page shows of a tab has changed. */
  changed(tab: TerminalTab): void;
  /** A button in the tab's panel, or its cross, was used. */
  restart(tab: TerminalTab): void;
  close(tab: TerminalTab): void;
}

const dark = matchMedia('(prefers-color-scheme: dark)');
const still = matchMedia('(prefers-reduced-motion: reduce)');
const stateWords: Record<SessionState, string> = {connecting: 'connecting', live: '', reconnecting: 'reconnecting', ended: 'ended'};

/** A terminal on the page: its tab, its panel with the screen, and its session with the service. */
export class TerminalTab {
  readonly number: number;
  readonly tab = element('button', 'tab');
  readonly panel = element('div', 'terminal-panel');
  readonly screen: Screen;
  readonly session: TerminalSession;
  readonly search = new SearchAddon();
  readonly cwd: string;
  readonly #parts: TabParts;
  readonly #fit = new FitAddon();
  readonly #label = element('span', 'tab-label');
  readonly #state = element('span', 'unseen');
  readonly #console = element('div', 'console');
  readonly #ended = element('div', 'ended');
  readonly #endedText = element('p');
  readonly #themed = () => (this.screen.options.theme = palette(dark.matches));
  #opened = false;
  #title = '';
  #endText = '';

  /** `number` tells it from the others as long as no program gives it a title; `cwd` is where its shell has begun. */
  constructor(number: number, cwd: string, size: Size, parts: TabParts) {
    this.number = number;
    this.cwd = cwd;
    this.#parts = parts;
    this.tab.id = `tab-${number}`;
    this.tab.type = 'button';
    this.tab.setAttribute('role', 'tab');
    this.tab.setAttribute('aria-controls', `panel-${number}`);
    const cross = element('span', 'tab-close');
    cross.setAttribute('aria-hidden', 'true');  // for the mouse; keys have Delete and the bar's button
    cross.title = 'Close this terminal';
    this.tab.append(element('span', 'tab-dot'), this.#label, this.#state, cross);
    cross.addEventListener('click', (event) => {
      event.stopPropagation();
      parts.close(this);
    });
    this.tab.addEventListener('auxclick', (event) => {
      if (event.button !== 1) return;
      event.preventDefault();
      parts.close(this);
    });

    this.panel.id = `panel-${number}`;
    this.panel.hidden = true;
    this.panel.setAttribute('role', 'tabpanel');
    this.panel.setAttribute('aria-labelledby', this.tab.id);
    this.#ended.hidden = true;
    this.#endedText.setAttribute('role', 'status');
    this.#ended.append(this.#endedText, this.#button('Close tab', '', () => parts.close(this)),
      this.#button('Restart', 'primary', () => parts.restart(this)));
    this.panel.append(this.#console, this.#ended);

    this.screen = new Screen({
      ...size,
      allowProposedApi: true,  // for the marks of a search
      cursorBlink: !still.matches,
      disableStdin: true,
      fontFamily: 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace',
      fontSize: 13,
      lineHeight: 1.15,
      linkHandler: {activate: (event, uri) => this.#follow(event, uri), allowNonHttpProtocols: false},
      minimumContrastRatio: 4.5,
      scrollback: 10_000,
      theme: palette(dark.matches),
    });
    this.screen.loadAddon(this.#fit);
    this.screen.loadAddon(this.search);
    this.screen.loadAddon(new WebLinksAddon((event, uri) => this.#follow(event, uri)));
    this.screen.attachCustomKeyEventHandler((key) => !isOurs(key));
    this.screen.onTitleChange((title) => {
      this.#title = shownTitle(title);
      this.#show();
    });
    dark.addEventListener('change', this.#themed);
    Object.assign(this.panel, {screen: this.screen});  // for tests, and for the curious with developer tools

    this.session = new TerminalSession(parts.watch, parts.workspace, this.screen, {
      changed: (state, text) => {
        this.#endText = text;
        this.#show();
        // Whoever typed into it is not left on something that takes no more keys.
        const typing = this.#console.contains(document.activeElement);
        this.#ended.hidden = state !== 'ended';
        this.#endedText.textContent = text;
        if (state === 'ended' && typing) this.#ended.querySelector<HTMLElement>('.primary')?.focus();
        parts.changed(this);
      },
    });
    this.#show();
  }

  /** What the tab is called. */
  get name(): string {
    return this.#title || `Terminal ${this.number}`;
  }

  /** Whether everything that runs in it would end with it. */
  get running(): boolean {
    return this.session.state !== 'ended' && this.session.id !== null;
  }

  get selected(): boolean {
    return !this.panel.hidden;
  }

  /** Shows its panel, or hides it. */
  select(selected: boolean): void {
    this.panel.hidden = !selected;
    this.tab.setAttribute('aria-selected', String(selected));
    this.tab.tabIndex = selected ? 0 : -1;
    if (!selected || this.#opened) return;
    this.#opened = true;
    this.screen.open(this.#console);
    this.#show();
  }

  /** The cells that its panel has room for; null while it is not to be seen. */
  room(): Size | null {
    if (!this.selected || this.#console.clientWidth === 0 || this.#console.clientHeight === 0) return null;
    const size = this.#fit.proposeDimensions();
    return size && Number.isFinite(size.cols) && Number.isFinite(size.rows) ? size : null;
  }

  /** Lets keys go to the screen, or, when it has ended, to what may be done next. */
  focus(): void {
    if (this.session.state === 'ended') this.#ended.querySelector<HTMLElement>('.primary')?.focus();
    else this.screen.focus();
  }

  /** Puts the selection on the clipboard. */
  copy(): void {
    const text = this.screen.getSelection();
    if (text === '') return;
    if (navigator.clipboard) {
      void navigator.clipboard.writeText(text).catch(() => this.#copyByCommand(text));
    } else {
      this.#copyByCommand(text);  // a page by plain HTTP from another machine has no clipboard of its own
    }
  }

  dispose(): void {
    dark.removeEventListener('change', this.#themed);
    this.session.dispose();
    this.tab.remove();
    this.panel.remove();
    this.screen.dispose();
  }

  #show(): void {
    const {state} = this.session ?? {state: 'connecting' as const};
    this.tab.dataset['state'] = state;
    if (this.#label.textContent !== this.name) this.#label.textContent = this.name;
    this.#state.textContent = stateWords[state] ? `, ${stateWords[state]}` : '';
    this.tab.title = [this.#title ? `Terminal ${this.number}: ${this.#title}` : this.name, this.#endText].filter(Boolean).join('. ');
    this.screen.textarea?.setAttribute('aria-label', `${this.name}. Ctrl+Shift+Arrow Up leaves it.`);
  }

  #follow(event: MouseEvent, uri: string): void {
    event.preventDefault();
    if (/^https?:\/\//i.test(uri)) this.#parts.follow(uri);
  }

  #copyByCommand(text: string): void {
    const carrier = document.createElement('textarea');
    carrier.value = text;
    carrier.className = 'unseen';
    this.panel.append(carrier);
    carrier.select();
    document.execCommand('copy');
    carrier.remove();
    this.screen.focus();
  }

  #button(text: string, kind: string, used: () => void): HTMLButtonElement {
    const button = element('button', kind);
    button.type = 'button';
    button.textContent = text;
    button.addEventListener('click', used);
    return button;
  }
}

/** Keys that belong to the page, wherever they are pressed in a terminal. */
export function isOurs(key: KeyboardEvent): boolean {
  return key.ctrlKey && key.shiftKey && !key.altKey && !key.metaKey &&
    (['ArrowUp', 'ArrowLeft', 'ArrowRight'].includes(key.key) || ['KeyC', 'KeyF', 'KeyV'].includes(key.code));
}

function element<Name extends keyof HTMLElementTagNameMap>(name: Name, className = ''): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}
