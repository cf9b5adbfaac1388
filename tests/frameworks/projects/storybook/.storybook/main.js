export default {
  framework: '@storybook/html-vite',
  stories: ['../src/*.stories.js'],
  core: { disableTelemetry: true, disableWhatsNewNotifications: true },
}
