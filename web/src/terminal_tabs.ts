import type {Server, Terminal, Workspace} from './protocol.ts';
import {type Size, type TabParts, TerminalTab, isOurs} from './terminal_tab.ts';
import type {WorkspaceWatch} from './workspace_watch.ts';

/** The elements of the page that the tabs live in. */
export interface TabsPlaces {
  pane: HTMLElement;      // around all of them
  list: HTMLElement;      // the tablist
  panels: HTMLElement;
  empty: HTMLElement;     // shown when there is no tab
  openers: HTMLElement[];  // buttons that open a terminal
  restart: HTMLButtonElement;
  close: HTMLButtonElement;
  dialog: HTMLDialogElement;
}

interface Listener {
  follow(uri: string): void;
  /** Another tab is shown, or none. */
  selected(tab: TerminalTab | null): void;
  /** Ctrl+Shift+F. */
  find(): void;
}

/** The terminals of a workspace as tabs (WAI-ARIA, tabs pattern with automatic activation). */
export class TerminalTabs {
  readonly #workspace: Workspace;
  readonly #places: TabsPlaces;
  readonly #listener: Listener;
  readonly #parts: TabParts;
  readonly #remembered: string;  // where this browser tab keeps which one was shown
  #tabs: TerminalTab[] = [];
  #current: TerminalTab | null = null;
  #size: Size = {cols: 80, rows: 24};
  #made = 0;
  #begun = false;

  constructor(watch: WorkspaceWatch, workspace: Workspace, places: TabsPlaces, listener: Listener) {
    this.#workspace = workspace;
    this.#places = places;
    this.#listener = listener;
    this.#remembered = `previewd.tab.${workspace.project}/${workspace.user}`;
    this.#parts = {
      watch, workspace,
      follow: (uri) => listener.follow(uri),
      changed: (tab) => this.#changed(tab),
      restart: (tab) => void this.restart(tab),
      close: (tab) => void this.close(tab),
    };
    for (const opener of places.openers) opener.addEventListener('click', () => this.open());
    places.restart.addEventListener('click', () => this.#current && void this.restart(this.#current));
    places.close.addEventListener('click', () => this.#current && void this.close(this.#current));
    places.list.addEventListener('click', (event) => {
      const tab = this.#tabs.find((each) => each.tab.contains(event.target as Node));
      if (!tab) return;
      this.select(tab);
      if (event.detail > 0) tab.focus();  // by the mouse; keys stay where they are
    });
    places.list.addEventListener('keydown', (event) => this.#tabKey(event));
    places.pane.addEventListener('keydown', (event) => this.#paneKey(event));
    new ResizeObserver(() => requestAnimationFrame(() => this.refit())).observe(places.panels);
    this.#showAround();
  }

  get current(): TerminalTab | null {
    return this.#current;
  }

  /** The room of the project was joined: for the first time, or again after a lost connection. */
  joined(terminals: Terminal[]): void {
    const ours = terminals.filter((each) => this.#isOurs(each));
    for (const tab of this.#tabs) tab.session.joined(ours);
    this.#adopt(ours);
    if (this.#begun) return;
    this.#begun = true;
    if (this.#tabs.length === 0) return this.open();
    const wanted = location.hash.slice(1) || this.#recall();
    this.select(this.#tabs.find((each) => each.session.id === wanted) ?? this.#tabs.at(-1)!);
    this.#current?.focus();
  }

  /** The connection is lost. */
  lost(): void {
    for (const tab of this.#tabs) tab.session.lost();
  }

  /** A server was started: in a terminal, perhaps, that somebody else has opened. */
  async started(server: Server): Promise<void> {
    const id = server.terminalId;
    if (!this.#begun || !id || !this.#isOurs(server) || this.#has(id)) return;
    const answer = await fetch(`/api/terminals/${encodeURIComponent(id)}`, {cache: 'no-store'}).catch(() => null);
    if (answer?.ok) this.#adopt([(await answer.json()) as Terminal]);
  }

  /** Opens a new terminal in a new tab. */
  open(): void {
    const tab = this.#add('');
    this.select(tab);
    tab.session.open();
    tab.focus();
  }

  /** Ends a terminal, if the user means it, and opens a new one in its place that begins in the same folder. */
  async restart(tab: TerminalTab): Promise<void> {
    if (tab.running && !(await this.#confirm('Restart'))) return tab.focus();
    const at = this.#tabs.indexOf(tab);
    if (at < 0) return;
    const next = this.#add(tab.cwd, at + 1);
    const failure = await tab.session.close();
    if (failure) {
      this.#remove(next);
      this.#say(tab, failure.error.detail);
      return;
    }
    this.#remove(tab, next);
    next.session.open(tab.cwd, true);
    next.focus();
  }

  /** Ends a terminal, if the user means it, and takes its tab away. */
  async close(tab: TerminalTab): Promise<void> {
    if (tab.running && !(await this.#confirm('Close'))) return tab.focus();
    const failure = await tab.session.close();
    if (failure) return this.#say(tab, failure.error.detail);
    this.#remove(tab);
    if (this.#current) this.#current.focus();
    else this.#places.openers.at(-1)?.focus();
  }

  /** Shows a tab. Focus stays where it is. */
  select(tab: TerminalTab | null): void {
    if (this.#current === tab) return;
    this.#current = tab;
    for (const each of this.#tabs) each.select(each === tab);
    tab?.tab.scrollIntoView({block: 'nearest', inline: 'nearest'});
    this.#remember();
    this.refit();
    this.#showAround();
    this.#listener.selected(tab);
  }

  /** Gives all screens, the hidden ones too, the size that there is room for. */
  refit(): void {
    const room = this.#current?.room();
    if (!room) return;
    this.#size = {cols: room.cols, rows: room.rows};
    for (const {screen} of this.#tabs) {
      if (screen.cols !== room.cols || screen.rows !== room.rows) screen.resize(room.cols, room.rows);
    }
  }

  #isOurs({project, user}: Workspace): boolean {
    return project === this.#workspace.project && user === this.#workspace.user;
  }

  #has(id: string): boolean {
    return this.#tabs.some((each) => each.session.id === id);
  }

  /** Makes tabs of what runs and has none yet, oldest first. */
  #adopt(terminals: Terminal[]): void {
    const running = terminals.filter((each) => each.state === 'running' && this.#isOurs(each));
    for (const terminal of running.sort((a, b) => a.createdAt.localeCompare(b.createdAt))) {
      if (this.#has(terminal.id)) continue;
      this.#add(terminal.cwd).session.attach(terminal.id);
    }
    if (this.#current === null && this.#tabs.length > 0 && this.#begun) this.select(this.#tabs.at(-1)!);
  }

  #add(cwd: string, at = this.#tabs.length): TerminalTab {
    const tab = new TerminalTab(++this.#made, cwd, this.#size, this.#parts);
    this.#places.list.insertBefore(tab.tab, this.#tabs[at]?.tab ?? null);
    this.#places.panels.append(tab.panel);
    this.#tabs.splice(at, 0, tab);
    tab.select(false);
    this.#showAround();
    return tab;
  }

  #remove(tab: TerminalTab, next?: TerminalTab): void {
    const at = this.#tabs.indexOf(tab);
    if (at < 0) return;
    this.#tabs.splice(at, 1);
    if (this.#current === tab) this.select(next ?? this.#tabs[Math.min(at, this.#tabs.length - 1)] ?? null);
    tab.dispose();
    this.#showAround();
  }

  #changed(tab: TerminalTab): void {
    if (tab !== this.#current) return;
    this.#remember();
    this.#showAround();
  }

  #showAround(): void {
    const {empty, restart, close, list} = this.#places;
    empty.hidden = this.#tabs.length > 0 || !this.#begun;
    list.hidden = this.#tabs.length === 0;
    restart.disabled = close.disabled = this.#current === null || this.#current.session.state === 'connecting';
  }

  /** In the tablist: arrows go from tab to tab, Delete closes one, Enter goes into the terminal. */
  #tabKey(event: KeyboardEvent): void {
    const at = this.#tabs.findIndex((each) => each.tab === event.target);
    if (at < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    const count = this.#tabs.length;
    const to = {ArrowLeft: (at + count - 1) % count, ArrowRight: (at + 1) % count, Home: 0, End: count - 1}[event.key];
    if (to !== undefined) {
      this.select(this.#tabs[to]!);
      this.#tabs[to]!.tab.focus();
    } else if (event.key === 'Delete') {
      void this.close(this.#tabs[at]!);
    } else if (event.key === 'Enter' || event.key === ' ' || event.key === 'ArrowDown') {
      this.#tabs[at]!.focus();
    } else {
      return;
    }
    event.preventDefault();
  }

  /** Anywhere among the terminals. Tab belongs to the shell, so Ctrl+Shift+Arrow Up is the way out for who has no mouse. */
  #paneKey(event: KeyboardEvent): void {
    if (!isOurs(event) || (event.target instanceof HTMLInputElement && event.code !== 'KeyF')) return;
    const current = this.#current;
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (event.code === 'KeyV') return;  // the browser pastes
    event.preventDefault();
    if (event.code === 'KeyF') {
      this.#listener.find();
    } else if (event.code === 'KeyC') {
      current?.copy();
    } else if (event.key === 'ArrowUp') {
      (current?.tab ?? this.#places.openers[0])?.focus();
    } else if (step !== undefined && current) {
      const next = this.#tabs[(this.#tabs.indexOf(current) + step + this.#tabs.length) % this.#tabs.length]!;
      this.select(next);
      next.focus();
    }
  }

  #confirm(verb: 'Close' | 'Restart'): Promise<boolean> {
    const {dialog} = this.#places;
    dialog.querySelector('[data-part=title]')!.textContent = `${verb} this terminal?`;
    dialog.querySelector('[data-part=do]')!.textContent = `${verb} terminal`;
    dialog.returnValue = '';
    dialog.showModal();
    return new Promise((answered) => {
      dialog.addEventListener('close', () => answered(dialog.returnValue === 'yes'), {once: true});
    });
  }

  #say(tab: TerminalTab, text: string): void {
    tab.screen.write(`\r\n\x1b[2m[${text}]\x1b[0m\r\n`);
    tab.focus();
  }

  #remember(): void {
    try {
      if (this.#current?.session.id) sessionStorage.setItem(this.#remembered, this.#current.session.id);
    } catch {
      // then the newest is shown next time
    }
  }

  #recall(): string | null {
    try {
      return sessionStorage.getItem(this.#remembered);
    } catch {
      return null;
    }
  }
}
