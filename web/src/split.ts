/** Makes `divider` set how `container` is shared between what stands before and after it; remembered by this browser. */
export function split(container: HTMLElement, divider: HTMLElement, changed: () => void): void {
  const key = 'previewd.split';
  const limit = (share: number) => Math.min(80, Math.max(20, share));

  function set(share: number): void {
    container.style.setProperty('--share', `${share}%`);
    divider.setAttribute('aria-valuenow', String(Math.round(share)));
    changed();
  }
  function keep(share: number): void {
    set(share);
    try {
      localStorage.setItem(key, String(share));
    } catch {
      // not remembered, then
    }
  }
  let stored = NaN;
  try {
    stored = Number.parseFloat(localStorage.getItem(key) ?? '');
  } catch {
    // as if nothing had been kept
  }
  set(limit(Number.isFinite(stored) ? stored : 50));

  divider.addEventListener('pointerdown', (down) => {
    down.preventDefault();
    divider.setPointerCapture(down.pointerId);
    container.classList.add('dragging');  // or the frame swallows the moves
  });
  divider.addEventListener('pointermove', (move) => {
    if (!divider.hasPointerCapture(move.pointerId)) return;
    const box = container.getBoundingClientRect();
    keep(limit(((move.clientX - box.left) / box.width) * 100));
  });
  divider.addEventListener('lostpointercapture', () => container.classList.remove('dragging'));
  divider.addEventListener('keydown', (press) => {
    const now = Number(divider.getAttribute('aria-valuenow'));
    const step = {ArrowLeft: -2, ArrowRight: 2, PageUp: -10, PageDown: 10}[press.key];
    const share = press.key === 'Home' ? 20 : press.key === 'End' ? 80 : step !== undefined ? now + step : null;
    if (share === null) return;
    press.preventDefault();
    keep(limit(share));
  });
}
