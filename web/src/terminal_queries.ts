import type {Terminal as Screen} from '@xterm/xterm';

/**
 * Keeps a screen from answering the questions of programs (what it is, where its cursor is, which colours it has) while
 * `silent()` says so: an answer to a question from the past would be typed into whatever runs now.
 */
export function refuseToAnswer(screen: Screen, silent: () => boolean): void {
  const {parser} = screen;
  // Device attributes, status and cursor reports, modes, version, window reports, keyboard protocol (XTerm Control Sequences).
  for (const id of [
    {final: 'c'}, {prefix: '>', final: 'c'}, {prefix: '=', final: 'c'},
    {final: 'n'}, {prefix: '?', final: 'n'},
    {intermediates: '$', final: 'p'}, {prefix: '?', intermediates: '$', final: 'p'},
    {prefix: '>', final: 'q'}, {prefix: '?', final: 'u'},
  ]) parser.registerCsiHandler(id, silent);
  // Only its reports, from 11 on; below that it orders.
  parser.registerCsiHandler({final: 't'}, ([first]) => silent() && typeof first === 'number' && first >= 11 && first <= 21);
  parser.registerDcsHandler({intermediates: '$', final: 'q'}, silent);
  parser.registerDcsHandler({intermediates: '+', final: 'q'}, silent);
  // Colours: asked for by a question mark, set by anything else.
  for (const code of [4, 10, 11, 12]) parser.registerOscHandler(code, (data) => silent() && data.split(';').includes('?'));
}
