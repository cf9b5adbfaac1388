import type {ITheme} from '@xterm/xterm';

/** The sixteen colours, each readable on its background. */
export function palette(dark: boolean): ITheme {
  return dark
    ? {
      background: '#14161b', foreground: '#d8dce5', cursor: '#8ce99a', cursorAccent: '#14161b',
      selectionBackground: '#3b4a6b',
      black: '#3a3f4b', red: '#ff8787', green: '#8ce99a', yellow: '#ffd43b',
      blue: '#91a7ff', magenta: '#e599f7', cyan: '#66d9e8', white: '#ced4da',
      brightBlack: '#868e96', brightRed: '#ffa8a8', brightGreen: '#b2f2bb', brightYellow: '#ffe066',
      brightBlue: '#bac8ff', brightMagenta: '#eebefa', brightCyan: '#99e9f2', brightWhite: '#f8f9fa',
    }
    : {
      background: '#fbfbfd', foreground: '#22252d', cursor: '#3b5bdb', cursorAccent: '#fbfbfd',
      selectionBackground: '#c5d1fb',
      black: '#22252d', red: '#c92a2a', green: '#1f7a34', yellow: '#8a5a00',
      blue: '#364fc7', magenta: '#862e9c', cyan: '#0b7285', white: '#6c727d',
      brightBlack: '#5c6370', brightRed: '#e03131', brightGreen: '#2b8a3e', brightYellow: '#a05e00',
      brightBlue: '#4263eb', brightMagenta: '#9c36b5', brightCyan: '#0c8599', brightWhite: '#495057',
    };
}
